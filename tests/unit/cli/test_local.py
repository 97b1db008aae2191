"""`local up|down|status`: which laptop is meant, and that nothing else is ever ended."""

import fcntl
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from local.chaos.faults.catalogue import FAULTS
from tests.unit.cli.session import Session

UP = {
    "pid": os.getpid(),
    "webhook": "http://127.0.0.1:1/webhook",
    "gitlab": "http://127.0.0.1:2",
    "engine": "http://127.0.0.1:1",
    "clone": "http://127.0.0.1:2/acme/playground.git",
    "stack": "runner-fleet",
    "tags": ["ec2", "docker", "lambda", "node"],
}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["local", *arguments])


def write(folder: Path, text: str = json.dumps(UP)) -> Path:
    """The file of a laptop that is or was up; by its number this process is meant."""
    path = folder / "up.json"
    path.write_text(text)
    return path


@contextmanager
def laptop_in(folder: Path) -> Iterator[list[int]]:
    """This process is the laptop of the folder until SIGTERM comes; the signals so far."""
    signals: list[int] = []
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        def end(number: int, _: object) -> None:
            signals.append(number)
            fcntl.flock(lock, fcntl.LOCK_UN)

        before = signal.signal(signal.SIGTERM, end)
        try:
            yield signals
        finally:
            signal.signal(signal.SIGTERM, before)


def test_all_that_local_says(tmp_path: Path, screen: Callable[[str, str], None]) -> None:
    folder = tmp_path / "my fleet"
    folder.mkdir()
    session = Session({str(tmp_path): "/home/dana"})

    def local(*arguments: str) -> int:
        arguments = (*arguments, "--data", str(folder))
        return session.show(["local", *arguments], run(*arguments)).exit_code

    assert (local("status"), local("down")) == (1, 0)
    with laptop_in(folder) as signals:
        path = write(folder)
        assert (local("status"), local("up"), path.exists()) == (0, 1, True)
        write(folder, "{")
        assert (local("status"), signals) == (1, [])
        write(folder)
        assert (local("down"), signals) == (0, [signal.SIGTERM])
    repository = folder / "gitlab" / "repositories" / "1.git"  # does not say whose it is
    repository.mkdir(parents=True)
    assert (local("up"), repository.exists()) == (1, True)
    screen("local", str(session))


def test_another_process_with_the_recorded_number_is_left_alone(tmp_path: Path) -> None:
    """As after a crash of the machine: the file is still there, the laptop is not."""
    with laptop_in(tmp_path / "elsewhere") as signals:
        write(tmp_path)
        down = run("down", "--data", str(tmp_path))
        status = run("status", "--data", str(tmp_path))
    assert (down.exit_code, status.exit_code, status.stdout, signals) == (0, 1, "", [])


def test_a_folder_without_a_laptop_is_not_made(tmp_path: Path) -> None:
    folder = tmp_path / "none"
    assert run("down", "--data", str(folder)).exit_code == 0
    assert run("status", "--data", str(folder)).exit_code == 1
    assert not folder.exists()


@pytest.fixture
def _own_signals() -> Iterator[None]:
    """`local up` takes SIGINT and SIGTERM for itself."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_own_signals")
@pytest.mark.parametrize("before", [[], ["up"], ["up", "up/local"]])
def test_a_start_on_a_port_in_use_leaves_no_folder(tmp_path: Path, before: list[str]) -> None:
    for name in before:
        (tmp_path / name).mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = run("up", "--data", str(tmp_path / "up/local"), "--gitlab-port", port)
    assert (result.exit_code, "port is in use" in result.stderr) == (1, True)
    left = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")]
    assert [name for name in sorted(left) if not name.endswith("lock")] == before


@pytest.mark.parametrize("text", ["{", "[]", "5", '{"pid": 1}', ""])
def test_a_file_that_up_did_not_write_ends_no_process(text: str, tmp_path: Path) -> None:
    with laptop_in(tmp_path) as signals:
        write(tmp_path, text)
        for command in ("status", "down"):
            result = run(command, "--data", str(tmp_path))
            assert (result.exit_code, result.stdout) == (1, "")
    assert signals == []


def test_chaos_lists_every_fault_and_runs_none() -> None:
    result = run("chaos", "--list")
    assert [line.split()[0] for line in result.stdout.splitlines()] == [
        fault.name for fault in FAULTS
    ]
    unknown = run("chaos", "--fault", "sunshine")
    assert (unknown.exit_code, unknown.stdout, unknown.stderr.count("\n")) == (2, "", 1)
    assert FAULTS[0].name in unknown.stderr
