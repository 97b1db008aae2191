"""What a family is and what it spares; tests/security/test_processes.py attacks its end."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.guest.process_tree import send
from tests.integration.runs import is_alive

# Each case runs in a Python of its own: a family is everything below one process.
PRELUDE = """
import json, os, signal, subprocess, sys, time
from pathlib import Path
from adapters.guest.process_tree import Family, hide_memory
def start(command):
    return subprocess.Popen(["bash", "-c", command], start_new_session=True)
def until(holds):
    give_up = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.01)
"""


def outcome(script: str, folder: Path) -> dict[str, object]:
    """What the script prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    printed: dict[str, object] = json.loads(done.stdout)
    return printed


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("sleep 300 & sleep 300 & wait", id="its children"),
        pytest.param("(setsid setsid sleep 300 &) ; exit", id="an orphan's orphan"),
        pytest.param("bash -c 'exec -a \"a) Z 1 (\" sleep 300'", id="with a misleading name"),
    ],
)
def test_kill_ends_everything(command: str, tmp_path: Path) -> None:
    script = f"""
family = Family()
child = start({command!r})
until(lambda: any(
    b"sleep" in Path(f"/proc/{{pid}}/comm").read_bytes() for pid in family.alive()
    if Path(f"/proc/{{pid}}/comm").exists()))
before = sorted(family.alive())
worked = family.end(within_s=5)
print(json.dumps({{"before": before, "worked": worked, "left": sorted(family.alive())}}))
"""
    result = outcome(script, tmp_path)
    assert (result["worked"], result["left"]) == (True, [])
    before = result["before"]
    assert isinstance(before, list)
    assert before
    assert not any(is_alive(pid) for pid in before)


def test_older_children_and_the_spared_live_on(tmp_path: Path) -> None:
    script = """
older = start("sleep 300")
family = Family()
spared, victim = start("sleep 300 & wait"), start("sleep 300")
until(lambda: len(family.alive()) == 3)
family.kill(spare=lambda: frozenset({spared.pid}), within_s=0)
until(lambda: victim.poll() is not None)
result = {"older": older.poll(), "spared": spared.poll(), "members": len(family.alive())}
older.kill(), family.end(within_s=5)
print(json.dumps(result))
"""
    result = outcome(script, tmp_path)
    assert result["older"] is None
    # its own child was killed, so it has ended by itself or is about to
    assert result["spared"] in {None, 0, 137}


def test_hidden_memory_is_not_dumpable(tmp_path: Path) -> None:
    script = """
import ctypes
read = lambda: ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)  # PR_GET_DUMPABLE
before = read()
hide_memory()
print(json.dumps({"before": before, "after": read()}))
"""
    assert outcome(script, tmp_path) == {"before": 1, "after": 0}


def test_send_is_false_for_a_process_that_is_gone() -> None:
    child = subprocess.Popen(["sleep", "300"])
    assert send(child.pid, signal.SIGKILL)
    child.wait()
    assert not send(child.pid, signal.SIGTERM)
