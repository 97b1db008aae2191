"""The command itself: quick help, lazy imports, errors as lines and exit codes."""

import subprocess
import sys
from inspect import getdoc

import pytest
import typer
from typer.testing import CliRunner

from cli.failures import told
from cli.main import COMMANDS, app, load
from fleet.config.reading import ConfigError, read_config
from fleet.errors import Refused, Transient
from tests.unit.cli.fleet_at_work import AtWork

HEAVY = {"boto3", "botocore", "pydantic", "fastapi", "gitlab", "ministack", "local", "adapters"}


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from cli.main import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        f"print(sorted({HEAVY!r} & {{name.split('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(f" {name} " in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_in_the_list_is_the_first_of_the_commands_own_help(name: str) -> None:
    command = load(name)
    assert (command.help or "").strip().splitlines()[0] == COMMANDS[name][1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["exlpain"],
            "No such command 'exlpain'. Did you mean 'explain'?; see `runner-fleet --help`",
        ),
        (["xyz"], "No such command 'xyz'; see `runner-fleet --help`"),
        (["--nope"], "No such option: --nope; see `runner-fleet --help`"),
        (["explain"], "Missing argument 'job'; see `runner-fleet explain --help`"),
        (["status", "x"], "Got unexpected extra argument(s) (x); see `runner-fleet status --help`"),
        (
            ["webhook", "regster"],
            "No such command 'regster'. Did you mean 'register'?; "
            "see `runner-fleet webhook --help`",
        ),
        (
            ["validate", "none.toml"],
            "Invalid value for 'path': file 'none.toml' does not exist; "
            "see `runner-fleet validate --help`",
        ),
        (
            ["apply", "."],
            "Invalid value for 'path': file '.' is a directory; see `runner-fleet apply --help`",
        ),
        (
            ["status", "--jobs", "0"],
            "Invalid value for '--jobs': Input should be greater than or equal to 1; "
            "see `runner-fleet status --help`",
        ),
    ],
)
def test_a_wrong_call_is_one_line_however_narrow_the_terminal(
    arguments: list[str], says: str
) -> None:
    result = CliRunner().invoke(app, arguments, prog_name="runner-fleet", env={"COLUMNS": "20"})
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"Error: {says}\n")


@pytest.mark.parametrize("arguments", [[], ["webhook"], ["local"]])
def test_a_command_without_anything_shows_its_help(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "--help" in result.output
    assert "Error" not in result.output


def test_what_the_reader_cannot_show_is_no_reason_to_fail() -> None:
    at_work = AtWork().configure()
    at_work.job(1)
    runner = CliRunner(charset="ascii")
    result = runner.invoke(app, ["explain", "1"], obj=at_work.deployed)
    assert result.exit_code == 0
    assert "? it waits for the autoscaler" in result.stdout


def test_a_fleet_that_was_never_configured_says_what_to_do() -> None:
    result = AtWork().run("status")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == ("Error: the fleet has no configuration: run `runner-fleet apply`\n")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (Transient("GitLab did not answer", status=500), "GitLab did not answer (status=500)"),
        (
            Refused(call="cloudformation.DescribeStacks", code="NoCredentialsError"),
            "there are no AWS credentials: set AWS_PROFILE, or log in"
            " (cloudformation.DescribeStacks: NoCredentialsError)",
        ),
        (
            Refused(call="dynamodb.Query", code="SomethingNew"),
            "The other side will not do this however often it is asked."
            " (call=dynamodb.Query, code=SomethingNew)",
        ),
    ],
)
def test_an_error_of_ours_is_one_line(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended, told():
        raise error
    assert ended.value.exit_code == 1
    assert capsys.readouterr().err == f"Error: {line}\n"


def test_a_configuration_that_is_wrong_is_a_line_per_problem(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit), told():
        read_config("[gitlab]\nurl = 5\n")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 1
    assert all(line.startswith("fleet.toml line ") for line in lines)


def test_an_error_that_nobody_foresaw_keeps_its_traceback() -> None:
    with pytest.raises(ValueError, match="a bug"), told():
        raise ValueError("a bug")
    assert issubclass(ConfigError, ValueError)
    assert getdoc(told)
