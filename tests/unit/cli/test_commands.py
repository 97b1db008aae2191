"""Commands in messages: as the user calls the program, and with the stack that is meant."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.commands import (
    CALLED_VARIABLE,
    FILE,
    LAPTOP,
    as_called,
    called,
    use_file,
    use_laptop,
    use_stack,
)
from cli.main import COMMANDS, app
from tests.unit.cli.fleet_at_work import FLEET, AtWork

GROUPS = {"image", "job", "local", "pool", "runner", "token", "webhook"}


@pytest.fixture(autouse=True)
def _own_invocation() -> None:
    """Nothing of what another test's invocation in this process was given."""
    use_stack("")
    use_laptop(False)
    use_file(FILE)


@pytest.mark.parametrize(
    ("variable", "program", "expected"),
    [
        ("", "/usr/bin/pytest", "runner-fleet"),
        ("", "/src/cli/__main__.py", "runner-fleet"),
        ("", ".venv/bin/runner-fleet", ".venv/bin/runner-fleet"),
        ("", "{on_path}", "runner-fleet"),
        ("./runner-fleet", "/home/dana/fleet/.venv/bin/runner-fleet", "./runner-fleet"),
        ("/my fleet/runner-fleet", "any", "'/my fleet/runner-fleet'"),
    ],
)
def test_a_message_names_the_program_as_it_was_called(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, program: str, expected: str
) -> None:
    on_path = tmp_path / "runner-fleet"
    on_path.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(CALLED_VARIABLE, variable)
    assert called(program.format(on_path=on_path)) == expected


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_in_a_message_can_be_called(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(CALLED_VARIABLE, "./runner-fleet")
    command = f"{name} up" if name in GROUPS else name
    sentence = as_called(f"run `runner-fleet {command}`")
    assert sentence == f"run `./runner-fleet {command}`"
    assert as_called(sentence) == sentence


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("`runner-fleet image use` now", "`runner-fleet image use --stack b` now"),
        ("runner-fleet up --yes", "runner-fleet up --stack b --yes"),
        ("runner-fleet validate", "runner-fleet validate"),
        ("runner-fleet local up", "runner-fleet local up"),
        ("runner-fleet is there", "runner-fleet is there"),
        ("my-runner-fleet status", "my-runner-fleet status"),
    ],
)
def test_a_command_gets_the_stack_once(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    monkeypatch.delenv("RUNNER_FLEET_STACK", raising=False)
    use_stack("b")
    assert as_called(text) == as_called(as_called(text)) == expected
    monkeypatch.setenv("RUNNER_FLEET_STACK", "b")
    assert as_called(text) == text
    use_stack("")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("`runner-fleet explain 7`", "`runner-fleet explain --local 7`"),
        ("runner-fleet webhook test", "runner-fleet webhook test --local"),
        ("runner-fleet init", "runner-fleet init --local"),
        ("runner-fleet local up", "runner-fleet local up"),
        ("runner-fleet image use", "runner-fleet image use"),
    ],
)
def test_a_command_stays_on_the_laptop_of_the_invocation(text: str, expected: str) -> None:
    use_laptop(True)
    assert as_called(text) == as_called(as_called(text)) == expected
    use_laptop(False)
    assert as_called(text) == text


def test_what_deploys_a_laptop_is_its_start() -> None:
    text = "run `runner-fleet deploy`, or wait"
    assert as_called(text) == text
    use_laptop(True)
    assert as_called(text) == as_called(as_called(text))
    assert as_called(text) == "run `runner-fleet local down`, then `runner-fleet local up`, or wait"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("`runner-fleet apply`", "`runner-fleet apply --local 'my fleet.toml'`"),
        ("`runner-fleet validate`", "`runner-fleet validate 'my fleet.toml'`"),
        ("`runner-fleet apply other.toml`", "`runner-fleet apply --local other.toml`"),
        ("`runner-fleet status`", "`runner-fleet status --local`"),
    ],
)
def test_a_command_repeats_the_file_of_the_invocation(text: str, expected: str) -> None:
    use_laptop(True)
    use_file(Path("my fleet.toml"))
    assert as_called(text) == as_called(as_called(text)) == expected


@pytest.fixture
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The fleet.toml of the laptop that runs in the folder of the command."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / LAPTOP
    folder.mkdir(parents=True)
    (folder / "env").touch()
    (folder / FILE).write_text(FLEET)
    return folder / FILE


@pytest.mark.usefixtures("laptop")
def test_on_a_laptop_its_own_file_is_taken_where_the_folder_has_none(tmp_path: Path) -> None:
    at_work = AtWork()

    def apply() -> int:
        token = {"T": "glpat-1"}
        return at_work.run("apply", "--local", "--gitlab-token-env", "T", env=token).exit_code

    assert apply() == 0
    (tmp_path / FILE).write_text("x")  # from now on this is the folder's own
    assert apply() == 1


def test_without_a_file_the_error_names_what_writes_or_has_one(laptop: Path) -> None:
    for command in ("validate", "apply", "plan", "up"):
        result = CliRunner().invoke(app, [command], prog_name="runner-fleet")
        assert result.exit_code == 2
        assert "`runner-fleet init` writes one" in result.stderr
        assert str(LAPTOP / FILE) in result.stderr
    laptop.unlink()
    result = CliRunner().invoke(app, ["apply", "--local", "--json"], prog_name="runner-fleet")
    assert (result.exit_code, "`runner-fleet init --local`" in result.stderr) == (2, True)
    assert json.loads(result.stdout) == {"errors": result.stderr.splitlines()}
    assert str(LAPTOP) not in result.stderr


@pytest.mark.parametrize("command", [["status"], ["webhook", "test"]])
def test_help_can_be_called_as_it_stands(
    monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv(CALLED_VARIABLE, "./runner-fleet")
    shown = CliRunner().invoke(app, [*command, "--help"], prog_name="runner-fleet").stdout
    name = f"./runner-fleet {' '.join(command)}"
    assert f"Usage: {name}" in shown
    assert f"Example: {name}" in shown
