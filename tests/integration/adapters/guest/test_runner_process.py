"""One gitlab-runner as a process: its start, its log, its stops and its end."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.guest.process_tree import Family
from adapters.guest.runner_process import RunOnce, clean_environment
from fleet.errors import Refused
from fleet.machine.runner_log import LineKind
from tests.integration import runs
from tests.integration.runs import LONG, eventually, is_alive, spec


def ended(runner: RunOnce) -> bool:
    return runner.exit_code is not None


def lines_of(runner: RunOnce) -> list[LineKind]:
    kinds = []
    while not ended(runner):
        line = runner.next_line(within_s=0.1)
        kinds += [line.kind] if line else []
    return kinds + [line.kind for line in runner.last_lines()]


def start_and_find(folder: Path, command: str) -> tuple[list[Any], Path]:
    """A script that starts a command which writes its process id to a file."""
    pid = folder / "pid"
    return [("start", f"echo $$ > {pid}.new; mv {pid}.new {pid}; {command}")], pid


def test_the_runner_gets_its_configuration_and_a_clean_environment(tmp_path: Path) -> None:
    note, home = tmp_path / "noted.json", tmp_path / "home"
    around = {
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "FLEET_LEDGER_TABLE": "ledger",
        "RUNNER_FLEET_GITLAB_RUNNER": "x",
        "PYTHONPATH": "/x",
        "https_proxy": "http://proxy",
    }
    with RunOnce(spec([("note", str(note))], tmp_path, **around)) as runner:
        eventually(lambda: ended(runner))
    noted: dict[str, Any] = json.loads(note.read_text())
    assert noted["config"]["runners"][0]["token"] == runs.TOKEN
    assert noted["config_left"] is False
    assert runs.TOKEN not in json.dumps([noted["arguments"], noted["environment"]])
    assert noted["arguments"].pop(4).endswith("/config.toml")
    assert noted["arguments"] == [
        *["--log-format", "json", "run-single", "-c", "-r", "rf-test-1"],
        *["--max-builds", "1", "--wait-timeout", "60"],
    ]
    added_by_the_shell = {"LC_CTYPE", "PWD", "SHLVL", "_"}
    assert {k: v for k, v in noted["environment"].items() if k not in added_by_the_shell} == {
        "PATH": runs.PATH,
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "https_proxy": "http://proxy",
    }
    assert noted["folder"] == str(home)
    assert [path.name for path in home.iterdir()] == ["tmp"]  # no file of ours is left


def test_no_other_user_can_open_the_configuration(tmp_path: Path) -> None:
    """The pipe is for us alone, and its name is gone when the runner has opened it."""
    script = [("note", str(tmp_path / "noted.json"))]
    with RunOnce(spec(script, tmp_path)) as runner:
        eventually(lambda: ended(runner))
        (private,) = (tmp_path / "home").glob("runner-*")
        assert private.stat().st_mode & 0o777 == 0o700
        assert list(private.iterdir()) == []


def test_every_line_is_echoed(tmp_path: Path) -> None:
    heard: list[str] = []
    script = [("say", {"msg": "Runtime platform"}), runs.STARTED]
    with RunOnce(spec(script, tmp_path), echo=heard.append) as runner:
        eventually(lambda: ended(runner))
        runner.last_lines()
    assert [json.loads(line)["msg"][:16] for line in heard] == [
        "Runtime platform",
        "Starting runner ",
    ]


def test_a_child_with_an_open_log_delays_nothing(tmp_path: Path) -> None:
    script, pid = start_and_find(tmp_path, "sleep 300")
    with RunOnce(spec([*script, runs.STARTED, ("exit", 0)], tmp_path)) as runner:
        assert lines_of(runner) == [LineKind.STARTED]
    eventually(pid.exists)
    assert not is_alive(int(pid.read_text()))


def test_leaving_early_leaves_nothing_behind(tmp_path: Path) -> None:
    script, pid = start_and_find(tmp_path, "setsid sleep 300 & setsid sleep 301")
    with RunOnce(spec([*script, LONG], tmp_path)) as runner:
        eventually(pid.exists)
    assert not is_alive(runner.pid)
    assert not is_alive(int(pid.read_text()))
    assert Family().alive() == frozenset()


@pytest.mark.parametrize(
    ("binary", "why"),
    [("no-such-runner", "No such file"), (os.devnull, "Permission denied")],
)
def test_a_binary_that_cannot_be_started(binary: str, why: str, tmp_path: Path) -> None:
    wanted = spec([], tmp_path)
    broken = replace(wanted, binary=binary)
    with pytest.raises(Refused, match=f"{binary} cannot be started: {why}"), RunOnce(broken):
        pass
    assert [path.name for path in wanted.home.iterdir()] == ["tmp"]


def test_a_runner_that_ends_before_it_reads(tmp_path: Path) -> None:
    wanted = spec([], tmp_path)
    broken = replace(wanted, binary="false")
    began = time.monotonic()
    with RunOnce(broken) as runner:
        eventually(lambda: ended(runner))
        assert runner.exit_code == 1
    assert time.monotonic() - began < 5


def shell(folder: Path, script: str) -> str:
    """A runner that is a shell script; `$5` is its configuration."""
    path = folder / "runner.sh"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return str(path)


LENGTHY = f"# {'x' * 300_000}\n"  # more than a pipe holds


def test_a_runner_that_stops_reading_ends_by_itself(tmp_path: Path) -> None:
    wanted = spec([], tmp_path)
    binary = shell(tmp_path, 'exec 3<"$5"; read -r one <&3; exec 3<&-; exit 4')
    broken = replace(wanted, binary=binary, config=f"one\n{LENGTHY}")
    with RunOnce(broken) as runner:
        eventually(lambda: ended(runner))
        assert runner.exit_code == 4
    assert [path.name for path in wanted.home.iterdir()] == ["tmp"]


def test_a_long_configuration_arrives_whole(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    wanted = spec([], tmp_path)
    long = replace(wanted, binary=shell(tmp_path, f'cat "$5" > {copy}'), config=f"{LENGTHY}end\n")
    with RunOnce(long) as runner:
        eventually(lambda: ended(runner))
    assert copy.read_text() == long.config


def test_odd_lines_do_not_end_the_following(tmp_path: Path) -> None:
    echoed: list[str] = []
    started = json.dumps({"level": "info", **runs.STARTED[1]})
    lines = f"printf '\\377\\n' >&2; echo '{{broken' >&2; echo >&2; echo '{started}' >&2"
    wanted = spec([], tmp_path)
    odd = replace(wanted, binary=shell(tmp_path, f': < "$5"; {lines}'))
    with RunOnce(odd, echo=echoed.append) as runner:
        eventually(lambda: ended(runner))
        assert [line.kind for line in runner.last_lines()] == [LineKind.STARTED]
        assert runner.next_line(within_s=0) is None
    assert echoed == ["\ufffd", "{broken", "", started]


def test_a_machine_without_language_speaks_utf8() -> None:
    assert clean_environment({"LANG": "de_DE.UTF-8"}, home=Path("/h"))["LANG"] == "de_DE.UTF-8"
    assert clean_environment({}, home=Path("/h"))["LANG"] == "C.UTF-8"
