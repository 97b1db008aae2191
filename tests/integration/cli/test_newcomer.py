"""A newcomer's first hour on the laptop: init, plan, up, status, explain, doctor, destroy."""

import json
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from local.gitlab.seed import create_project
from local.laptop import Laptop

PROJECT = "acme/first"


@dataclass(frozen=True, kw_only=True)
class Terminal:
    """A folder, and the command with the laptop's addresses and keys in the environment."""

    laptop: Laptop
    folder: Path

    def run(self, *arguments: str) -> Result:
        """The command, as a person without a terminal would call it."""
        with chdir(self.folder):
            return CliRunner().invoke(app, arguments, env=self.laptop.environment())


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    with Laptop(tmp_path_factory.mktemp("laptop")) as laptop:
        create_project(laptop.gitlab_url, laptop.gitlab_token, PROJECT, {"README.md": "first\n"})
        yield Terminal(laptop=laptop, folder=tmp_path_factory.mktemp("fleet"))


def test_from_nothing_to_a_green_pipeline_and_back(terminal: Terminal) -> None:
    page = f"{terminal.laptop.gitlab_url}/{PROJECT}/-/tree/main"
    begun = terminal.run("init", "--in", page, "--executor", "shell")
    assert (begun.exit_code, begun.stderr) == (0, "")
    planned = terminal.run("plan", "--json")
    assert json.loads(planned.stdout)["fleet"]["before"] is None
    up = terminal.run("up", "--test-project", PROJECT)
    assert (up.exit_code, up.stderr) == (0, "")
    assert [line[:5] for line in up.stdout.splitlines()][-1] == "[7/7]"
    assert "green" in up.stdout
    again = terminal.run("up")  # every step finds its work done
    assert (again.exit_code, again.stderr) == (0, "")
    assert "nothing changed" in again.stdout
    assert json.loads(terminal.run("plan", "--json").stdout)["fleet"]["pools"] == []
    status = json.loads(terminal.run("status", "--json").stdout)
    jobs = {job["name"]: job for job in status["jobs"]}
    assert {job["status"] for job in jobs.values()} == {"success"}
    for job in jobs.values():
        explained = terminal.run("explain", str(job["job_id"]))
        assert explained.exit_code == 0
        assert "it ended: success" in explained.stdout
    cost = terminal.run("cost")
    assert cost.exit_code == 0
    gone = terminal.run("destroy", "--confirm", terminal.laptop.stack.name)
    assert (gone.exit_code, gone.stderr) == (0, "")
    runners = terminal.laptop.gitlab_client().runners_all.list(get_all=True)
    assert list(runners) == []


def test_a_command_without_what_it_needs_is_one_line(terminal: Terminal) -> None:
    (terminal.folder / "wrong.toml").write_text("x = 1\n")
    for arguments in (
        ("up", "wrong.toml"),
        ("plan", "wrong.toml"),
        ("up", "--stack", "no name"),
        ("up", "-p", "LogDay=7"),
        ("up", "--token-env", "NOTHING"),
        ("doctor", "--stack", "no name"),
        ("destroy",),
        ("init", "--local"),
    ):
        result = terminal.run(*arguments)
        lines = result.stderr.splitlines()
        assert result.exit_code in {1, 2}, arguments
        assert isinstance(result.exception, SystemExit), arguments
        assert len(lines) <= 2, (arguments, lines)
