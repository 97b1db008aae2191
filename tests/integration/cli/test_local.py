"""`local up`, `status` and `down` in processes: one laptop from its start to its end."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import pytest


@dataclass(frozen=True, kw_only=True)
class Shell:
    """The folder of a laptop, and the process that keeps it up."""

    folder: Path
    process: "subprocess.Popen[str]"
    lines: list[str]  # that `up` printed

    def run(self, *arguments: str, prelude: str = "true") -> "subprocess.CompletedProcess[str]":
        """The command after `prelude`, in a shell of its own."""
        words = shlex.join([sys.executable, "-m", "cli", *arguments])
        return subprocess.run(
            ["bash", "-c", f"{prelude} && {words}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def local(self, command: str, *options: str) -> "subprocess.CompletedProcess[str]":
        """`local <command>` on this folder."""
        return self.run("local", command, "--data", str(self.folder), *options)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("a laptop")
    command = ["local", "up", "--data", str(folder), "--gitlab-port", "0"]
    with subprocess.Popen(
        [sys.executable, "-m", "cli", *command],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().rstrip() for _ in range(9)]
        try:
            yield Shell(folder=folder, process=process, lines=lines)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)


def test_up_prints_the_addresses_and_status_prints_them_again(shell: Shell) -> None:
    assert [line.split()[0] for line in shell.lines] == [
        "webhook",
        "GitLab",
        "engine",
        "clone",
        "(pages",
        "then",
        "pages",
        "pools",
        "Jobs",
    ]
    again = shell.local("status")
    assert (again.returncode, again.stdout.splitlines()) == (0, shell.lines)


def test_the_command_that_up_prints_shows_the_fleet(shell: Shell) -> None:
    source = shell.lines[5].removeprefix("then").strip().removesuffix("&& runner-fleet status")
    done = shell.run("status", "--json", prelude=source.strip())
    assert done.returncode == 0, done.stderr
    fleet = json.loads(done.stdout)
    assert fleet["problems"] == []
    assert {pool["backend"] for pool in fleet["pools"]} == {"ec2", "lambda"}


def test_keys_are_for_their_owner_only(shell: Shell) -> None:
    for name in ("env", "up.json"):
        assert (shell.folder / name).stat().st_mode & 0o077 == 0


def test_a_second_laptop_in_the_folder_is_refused(shell: Shell) -> None:
    second = shell.local("up")
    assert second.returncode == 1
    assert second.stderr.startswith("Error: a laptop is already running here: ")
    assert json.loads(shell.local("status", "--json").stdout)["stack"]


def test_down_leaves_nothing(shell: Shell) -> None:
    """It ends the laptop of the tests before."""
    engine = shell.lines[2].split()[1]
    done = shell.local("down")
    assert (done.returncode, done.stdout) == (0, "down\n"), done.stderr
    assert shell.process.wait(timeout=60) == 0
    with pytest.raises(ProcessLookupError):
        os.killpg(shell.process.pid, 0)
    with pytest.raises(URLError):
        urllib.request.urlopen(engine, timeout=5)
    assert not (shell.folder / "up.json").exists()
    assert not (shell.folder / "env").exists()
    assert shell.local("status").returncode == 1
    assert shell.local("down").stdout == "nothing is running\n"


def test_the_next_laptop_goes_on_with_the_applied_file_and_the_repositories(shell: Shell) -> None:
    """It follows the end of the first; a broken fleet.toml is reported and not applied."""
    file = shell.folder / "fleet.toml"
    applied = file.read_text()
    file.write_text(applied.replace("ceiling = 4", "ceiling = 0"))
    command = ["local", "up", "--data", str(shell.folder), "--gitlab-port", "0"]
    with subprocess.Popen(
        [sys.executable, "-m", "cli", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            lines = [process.stdout.readline() for _ in range(12)]
            assert "pools.docker.ceiling: must be 1 or more (is 0)" in lines[0]
            assert lines[2] == f"{file} is not applied: what was applied last is in force\n"
            assert json.loads(shell.run("status", "--json", prelude=_source(shell)).stdout)["pools"]
            refs = subprocess.run(
                ["git", "ls-remote", lines[7].split()[3]], capture_output=True, check=True
            )
            assert b"refs/heads/main" in refs.stdout
        finally:
            process.send_signal(signal.SIGTERM)


def _source(shell: Shell) -> str:
    return f". {shlex.quote(str(shell.folder / 'env'))}"


def test_a_port_in_use_ends_up_and_leaves_nothing(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "cli", "local", "up", "--gitlab-port", port]
        done = subprocess.run(
            [*command, "--data", str(tmp_path)], capture_output=True, text=True, check=False
        )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "--gitlab-port" in done.stderr
    assert not (tmp_path / "up.json").exists()
