"""`local up|down|status`: which laptop is meant, and that nothing else is ever ended."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.main import app

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
def somebody(folder: Path, *, holds: bool) -> Iterator["subprocess.Popen[str]"]:
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


def test_the_addresses_of_a_laptop_that_is_up_are_told(tmp_path: Path) -> None:
    with somebody(tmp_path, holds=True) as process:
        written(tmp_path, process.pid)
        result = run("status", "--data", str(tmp_path))
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "webhook  http://127.0.0.1:1/webhook"
    assert lines[1].startswith("GitLab   http://127.0.0.1:2 ")
    assert lines[2] == "engine   http://127.0.0.1:1   (AWS endpoint, stack runner-fleet)"
    assert lines[3] == "clone    git clone http://127.0.0.1:2/acme/playground.git"
    assert lines[5] == f"then     . {tmp_path}/env && runner-fleet status"
    apply = f". {tmp_path}/env && runner-fleet apply {tmp_path}/fleet.toml"
    assert lines[6] == f"pools    edit {tmp_path}/fleet.toml, then: {apply}"
    assert lines[7].endswith(f"`runner-fleet local down --data {tmp_path}` ends it.")


def test_a_folder_with_a_space_can_be_sourced(tmp_path: Path) -> None:
    folder = tmp_path / "my fleet"
    folder.mkdir()
    with somebody(folder, holds=True) as process:
        written(folder, process.pid)
        told = run("status", "--data", str(folder)).stdout
    assert f"then     . '{folder}/env' && " in told


def test_down_ends_the_laptop(tmp_path: Path) -> None:
    with somebody(tmp_path, holds=True) as process:
        written(tmp_path, process.pid)
        # Nobody has taken note of its end by then: it is over all the same.
        result = run("down", "--data", str(tmp_path))
        assert (result.exit_code, result.stdout) == (0, "down\n")
        assert process.wait() == 0


def test_a_number_that_is_another_processs_by_now_is_left_alone(tmp_path: Path) -> None:
    """As after a crash of the machine: the file is still there, the laptop is not."""
    with somebody(tmp_path, holds=False) as process:
        written(tmp_path, process.pid)
        down = run("down", "--data", str(tmp_path))
        status = run("status", "--data", str(tmp_path))
        assert process.poll() is None
    assert (down.exit_code, down.stdout) == (0, "nothing is up\n")
    assert (status.exit_code, status.stdout) == (1, "")
    assert status.stderr == f"nothing is up: `runner-fleet local up --data {tmp_path}`\n"


def test_nothing_is_up_where_nothing_ever_was(tmp_path: Path) -> None:
    folder = tmp_path / "none"
    assert run("down", "--data", str(folder)).stdout == "nothing is up\n"
    assert run("status", "--data", str(folder)).exit_code == 1
    assert not folder.exists()


def test_a_second_laptop_in_a_folder_is_refused(tmp_path: Path) -> None:
    with somebody(tmp_path, holds=True) as process:
        path = written(tmp_path, process.pid)
        result = run("up", "--data", str(tmp_path))
        assert process.poll() is None
        assert path.exists()
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"Error: it is up already: `runner-fleet local status --data {tmp_path}` "
        "tells its addresses, "
        f"`runner-fleet local down --data {tmp_path}` ends it (folder={tmp_path})\n"
    )


def test_repositories_that_cannot_be_taken_up_are_said_and_kept(tmp_path: Path) -> None:
    repository = tmp_path / "gitlab" / "repositories" / "1.git"  # does not say whose it is
    repository.mkdir(parents=True)
    result = run("up", "--data", str(tmp_path))
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"remove them (rm -r {tmp_path}), or give another --data" in result.stderr
    assert repository.exists()


@pytest.mark.parametrize("text", ["{", "[]", "5", '{"pid": 1}', ""])
def test_a_file_that_is_not_ours_is_said(text: str, tmp_path: Path) -> None:
    with somebody(tmp_path, holds=True) as process:
        (tmp_path / "up.json").write_text(text)
        for command in ("status", "down"):
            result = run(command, "--data", str(tmp_path))
            assert (result.exit_code, result.stdout) == (1, "")
            assert result.stderr.startswith("Error: this file is not as `local up` writes it")
        assert process.poll() is None


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("up", "--gitlab-port", "65536"), 2, "less than or equal to 65535"),
        (("up", "--gitlab-port", "-1"), 2, "greater than or equal to 0"),
        (("up", "--data", os.devnull), 1, f"File exists: {os.devnull}"),
        (("burst", "--jobs", "0"), 2, "greater than or equal to 1"),
        (("burst", "--credentials", "none"), 2, "credentials are per-machine or shared"),
        (("burst", "--ceiling", "0"), 2, "greater than or equal to 1"),
        (("chaos", "--at-once", "0"), 2, "greater than or equal to 1"),
    ],
)
def test_a_wrong_call_is_one_line(arguments: tuple[str, ...], code: int, says: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith("Error: ")
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "cli", "local", "up", "--gitlab-port", port]
        done = subprocess.run(
            [*command, "--data", str(tmp_path)], capture_output=True, text=True, check=False
        )
    says = "Error: its port is taken: give another --gitlab-port, or 0\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", says)
    assert not (tmp_path / "up.json").exists()
    assert run("status", "--data", str(tmp_path)).exit_code == 1
