"""`local up|down|status`: which laptop is meant, and that nothing else is ever ended."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from local.chaos.faults.catalogue import FAULTS
from tests.unit.cli.session import Session

UP: dict[str, Any] = {
    "webhook": "http://127.0.0.1:1/webhook",
    "gitlab": "http://127.0.0.1:2",
    "engine": "http://127.0.0.1:1",
    "clone": "http://127.0.0.1:2/acme/playground.git",
    "stack": "runner-fleet",
}
# A process that is alone in its folder, as `local up` is, until it is told to end.
HOLDER = """
import fcntl, pathlib, signal, sys
folder = pathlib.Path(sys.argv[1])
lock = (folder / "lock").open("w")
fcntl.flock(lock, fcntl.LOCK_EX)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("up", flush=True)
signal.pause()
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["local", *arguments])


def written(folder: Path, pid: int, **changes: Any) -> Path:
    """The file of a laptop that is or was up."""
    path = folder / "up.json"
    path.write_text(json.dumps({"pid": pid, **UP, **changes}))
    return path


@contextmanager
def process_in(folder: Path, *, holds: bool) -> Iterator["subprocess.Popen[str]"]:
    """A process, which is the laptop of this folder or is not."""
    place = folder if holds else folder / "elsewhere"
    place.mkdir(exist_ok=True)
    command = [sys.executable, "-c", HOLDER, str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            yield process
        finally:
            process.kill()


def test_all_that_local_says(tmp_path: Path, screen: Callable[[str, str], None]) -> None:
    folder = tmp_path / "my fleet"
    folder.mkdir()
    session = Session({str(tmp_path): "/home/dana"})

    def local(*arguments: str) -> Result:
        arguments = (*arguments, "--data", str(folder))
        return session.show(["local", *arguments], run(*arguments))

    assert local("status").exit_code == 1
    assert local("down").exit_code == 0
    with process_in(folder, holds=True) as process:
        path = written(folder, process.pid)
        assert local("status").exit_code == 0
        assert local("up").exit_code == 1
        assert (process.poll(), path.exists()) == (None, True)
        path.write_text("{")
        assert local("status").exit_code == 1
        written(folder, process.pid)
        assert local("down").exit_code == 0
        assert process.wait() == 0
    repository = folder / "gitlab" / "repositories" / "1.git"  # does not say whose it is
    repository.mkdir(parents=True)
    assert local("up").exit_code == 1
    assert repository.exists()
    screen("local", str(session))


def test_another_process_with_the_recorded_number_is_left_alone(tmp_path: Path) -> None:
    """As after a crash of the machine: the file is still there, the laptop is not."""
    with process_in(tmp_path, holds=False) as process:
        written(tmp_path, process.pid)
        down = run("down", "--data", str(tmp_path))
        status = run("status", "--data", str(tmp_path))
        assert process.poll() is None
    assert (down.exit_code, status.exit_code, status.stdout) == (0, 1, "")


def test_a_folder_without_a_laptop_is_not_made(tmp_path: Path) -> None:
    folder = tmp_path / "none"
    assert run("down", "--data", str(folder)).exit_code == 0
    assert run("status", "--data", str(folder)).exit_code == 1
    assert not folder.exists()


@pytest.mark.parametrize("text", ["{", "[]", "5", '{"pid": 1}', ""])
def test_a_file_that_up_did_not_write_ends_no_process(text: str, tmp_path: Path) -> None:
    with process_in(tmp_path, holds=True) as process:
        (tmp_path / "up.json").write_text(text)
        for command in ("status", "down"):
            result = run(command, "--data", str(tmp_path))
            assert (result.exit_code, result.stdout) == (1, "")
        assert process.poll() is None


def test_chaos_lists_every_fault_and_runs_none() -> None:
    result = run("chaos", "--list")
    assert [line.split()[0] for line in result.stdout.splitlines()] == [one.name for one in FAULTS]
    unknown = run("chaos", "--fault", "sunshine")
    assert (unknown.exit_code, unknown.stdout, unknown.stderr.count("\n")) == (2, "", 1)
    assert FAULTS[0].name in unknown.stderr
