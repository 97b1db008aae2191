"""No process outlives its job, however it forks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

API = "127.0.0.1:9001"
ROOT = Path(__file__).parents[2]

# Each hop of a chain lives for less time than one look at /proc takes.
CHAIN = """
import os, pathlib, signal, sys
{more}
hops = 0
while True:
    if os.fork():
        os._exit(0)
    {hop}
    hops += 1
    if hops == 50:
        pathlib.Path(sys.argv[1]).touch()
"""
CLONE = 56 if os.uname().machine == "x86_64" else 220
BOMBS = {
    "a chain": CHAIN.format(more="", hop="pass"),
    "a chain of sessions": CHAIN.format(more="", hop="os.setsid()"),
    "eight chains": CHAIN.format(more="[os.fork() for _ in range(3)]", hop="os.setsid()"),
    "deaf to signals": CHAIN.format(
        more="[signal.signal(number, signal.SIG_IGN) for number in (1, 2, 3, 15)]", hop="pass"
    ),
    "a stopped tree": """
import os, pathlib, signal, sys
for _ in range(30):
    if os.fork():
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
pathlib.Path(sys.argv[1]).touch()
os.kill(os.getpid(), signal.SIGSTOP)
""",
    "cloned to end without a signal": f"""
import ctypes, os, pathlib, sys, time
if ctypes.CDLL(None).syscall({CLONE}, 0, 0, 0, 0, 0) == 0:  # wait() alone does not see it
    pathlib.Path(sys.argv[1]).touch()
    time.sleep(300)
time.sleep(300)
""",
    "an adopter of its own": """
import ctypes, os, pathlib, sys, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
for _ in range(5):
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid()
            time.sleep(300)
        os._exit(0)
pathlib.Path(sys.argv[1]).touch()
time.sleep(300)
""",
}

END = """
import json, subprocess, sys, time
from pathlib import Path
from adapters.guest.process_tree import Family, has_child
family = Family()
subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2]], start_new_session=True)
give_up = time.monotonic() + 10
while not Path(sys.argv[2]).exists() and time.monotonic() < give_up:
    time.sleep(0.005)
begun = time.monotonic()
ended = family.end(within_s=10)
print(json.dumps([ended, has_child(), time.monotonic() - begun]))
"""


def run(code: str, *arguments: str, before: list[str] | None = None, api: str = "") -> str:
    """What a Python of its own prints."""
    done = subprocess.run(
        [*(before or []), sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
        env=os.environ | ({"AWS_LAMBDA_RUNTIME_API": api} if api else {}),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("bomb", BOMBS)
def test_the_end_of_a_family_is_proven(bomb: str, tmp_path: Path) -> None:
    ended, has_child, _ = json.loads(run(END, BOMBS[bomb], str(tmp_path / "started")))
    assert (ended, has_child) == (True, False)


def test_an_end_that_is_not_reached_is_reported_in_time() -> None:
    """A process of another user cannot be killed from here."""
    if os.getuid() != 0:
        pytest.skip("only root can start another user's process")
    code = """
import json, os, subprocess, time
from adapters.guest.process_tree import Family
family = Family()
theirs = subprocess.Popen(["sleep", "60"])
os.setresuid(65534, 65534, 0)
begun = time.monotonic()
ended = family.end(within_s=0.2)
took = time.monotonic() - begun
os.setresuid(0, 0, 0)
theirs.kill()
print(json.dumps([ended, took < 5]))
"""
    assert json.loads(run(code)) == [False, True]


# A stand-in for Lambda: a pid namespace whose pid 1 starts the runtime and adopts what it leaves.
NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc"]
AS_USER = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
FIRST = """
import os, sys
pid = os.fork()
if pid == 0:
    os.execv(sys.executable, [sys.executable, "-c", *sys.argv[1:]])
code = None
while code is None:
    ended, status = os.wait()
    if ended == pid:
        code = os.waitstatus_to_exitcode(status)
os._exit(code)
"""
CLEAN = """
import json, os, subprocess, sys, time
from pathlib import Path
from adapters.guest.process_tree import Family, has_child
from lambda_runner import sandbox
folder, bomb, started = sys.argv[1:]
sandbox.SHARED_FOLDERS = ()  # this namespace shares the machine's
is_alone = sandbox.is_alone()
# One that no wait() of this process ever sees: the last runtime left it to pid 1.
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
        time.sleep(300)
    os._exit(0)
os.wait()
family = Family(all_children=True)
subprocess.Popen([sys.executable, "-c", bomb, started], start_new_session=True)
give_up = time.monotonic() + 10
while not Path(started).exists() and time.monotonic() < give_up:
    time.sleep(0.005)
unclean = sandbox.LambdaSandbox(Path(folder), family).clean()
others = sorted(sandbox.others_of_this_user())
print(json.dumps([is_alone, unclean, has_child(), others]))
"""


def namespace() -> list[str]:
    """How to get a pid namespace of one's own here; skips without any."""
    for command in (NAMESPACE, AS_USER):
        if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
            return command
    pytest.skip("this machine gives no pid namespace")


LAMBDA_BOMBS = BOMBS | {
    "sixty-four chains": CHAIN.format(more="[os.fork() for _ in range(6)]", hop="os.setsid()"),
}


@pytest.mark.parametrize("bomb", LAMBDA_BOMBS)
def test_a_lambda_sandbox_is_proven_clean(bomb: str, tmp_path: Path) -> None:
    before = [*namespace(), sys.executable, "-c", FIRST]
    printed = subprocess.run(
        [
            *before,
            CLEAN,
            str(tmp_path / "work"),
            LAMBDA_BOMBS[bomb],
            str(tmp_path / "started"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
        env=os.environ | {"AWS_LAMBDA_RUNTIME_API": API},
    )
    assert printed.returncode == 0, printed.stderr
    assert json.loads(printed.stdout) == [True, None, False, []]


def test_no_machine_is_taken_for_a_lambda_sandbox(tmp_path: Path) -> None:
    """Outside of a pid namespace of its own, or without Lambda's variable, nothing is killed."""
    ask = "from lambda_runner.sandbox import is_alone; print(is_alone())"
    assert run(ask).strip() == "False"
    assert run(ask, api=API).strip() == "False"
    inside = [*namespace(), sys.executable, "-c", FIRST, ask]
    without = subprocess.run(inside, capture_output=True, text=True, check=True, cwd=ROOT)
    assert without.stdout.strip() == "False"
    deeper = ["import os, subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"]
    grandchild = [*namespace(), sys.executable, "-c", FIRST, *deeper, ask]
    process = subprocess.run(
        grandchild,
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"AWS_LAMBDA_RUNTIME_API": API},
    )
    assert process.stdout.strip() == "False"
