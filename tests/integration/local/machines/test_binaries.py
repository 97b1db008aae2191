"""A runner binary that cannot run is refused before anything starts, by its name."""

import os
from pathlib import Path

import pytest

from adapters.guest.runner_process import BINARY_VARIABLE
from fleet.errors import Refused
from local.machines.binaries import STANDIN, checked_binary
from tests.integration.local.runner_process import REAL

GOOD = "#!/bin/sh\nprintf 'Version:      19.4.0\\nGit revision: abc\\n'\n"


def program(path: Path, text: str, mode: int = 0o755) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("name", ["gitlab-runner", "./gitlab-runner", "{folder}/gitlab-runner"])
def test_a_named_runner_gets_its_whole_path(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = program(tmp_path / "gitlab-runner", GOOD)
    environment = {BINARY_VARIABLE: name.format(folder=tmp_path), "PATH": str(tmp_path)}
    assert checked_binary(environment) == str(path)


@pytest.mark.parametrize("environment", [{}, {BINARY_VARIABLE: ""}])
def test_the_usual_runner_is_the_stand_in(environment: dict[str, str]) -> None:
    assert checked_binary(environment) == str(STANDIN)


@pytest.mark.parametrize("named", [str(STANDIN), *([REAL] if REAL else [])])
def test_both_runners_pass_the_check(named: str) -> None:
    assert checked_binary({**os.environ, BINARY_VARIABLE: named}) == named


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        (None, 0),
        (GOOD, 0o644),
        ("#!/bin/sh\n", 0o755),
        ("#!/bin/sh\necho 'Version: 3'\n", 0o755),
        (GOOD + "exit 3\n", 0o755),
        ("#!/no/such/shell\n", 0o755),
        ("\x7fELF of another machine", 0o755),
    ],
)
def test_a_program_that_runs_no_jobs_is_refused(
    text: str | None, mode: int, tmp_path: Path
) -> None:
    path = tmp_path / "runner"
    if text is not None:
        program(path, text, mode)
    with pytest.raises(Refused, match=f"{path} .*{BINARY_VARIABLE}"):
        checked_binary({BINARY_VARIABLE: str(path)})
