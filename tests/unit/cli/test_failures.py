"""Errors as a person reads them: one line each, with what to do, and no traceback."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOTokenLoadError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from typer.testing import CliRunner

from adapters.aws.clients import aws_call
from cli.commands import use_laptop
from cli.failures import error_lines, sentence
from cli.main import COMMANDS, app, load
from fleet.aws_errors import ADVICE_BY_HAND
from fleet.config.reading import ConfigError, read_config
from fleet.errors import FleetError, Refused, Transient
from tests.unit.cli.fleet_at_work import AtWork
from tests.unit.cli.session import Session

SAID = "User: arn:aws:iam::123456789012:user/dana is not authorized to perform: sqs:SendMessage"


def of_aws(code: str, words: str) -> FleetError:
    """The fleet's error for an answer of AWS."""
    answer: Any = {"Error": {"Code": code, "Message": words}}
    with pytest.raises(FleetError) as raised, aws_call("sqs.SendMessage"):
        raise ClientError(answer, "SendMessage")
    return raised.value


def of_botocore(error: BotoCoreError) -> FleetError:
    """The fleet's error for a call that did not leave this machine."""
    with pytest.raises(FleetError) as raised, aws_call("sqs.SendMessage"):
        raise error
    return raised.value


class ParamValidationError(BotoCoreError):
    """A call that is wrong in itself."""

    fmt = "Invalid bucket name"


def printed(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code, and what standard error has."""
    with pytest.raises(typer.Exit) as ended, error_lines():
        raise error
    out = capsys.readouterr()
    assert out.out == ""
    return ended.value.exit_code, out.err


OF_THIS_MACHINE = (
    NoCredentialsError(),
    NoRegionError(),
    PartialCredentialsError(provider="env", cred_var="secret"),
    ProfileNotFound(profile="nope"),
    EndpointConnectionError(endpoint_url="http://x"),
    ConnectTimeoutError(endpoint_url="http://x"),
    SSOTokenLoadError(error_msg="none"),
    UnauthorizedSSOTokenError(),
    TokenRetrievalError(provider="sso", error_msg="old"),
)
ERRORS: tuple[Callable[[], Exception], ...] = (
    lambda: of_aws("ValidationError", "Parameters: [NoSuch] do not exist in the template."),
    lambda: of_aws("AccessDenied", SAID),
    lambda: of_aws("AccessDeniedException", SAID),
    lambda: of_aws("AccessDenied", ""),
    lambda: of_aws("SomethingNew", ""),
    lambda: of_aws("ExpiredToken", "The provided token has expired."),
    *(lambda error=error: of_botocore(error) for error in OF_THIS_MACHINE),
    lambda: of_botocore(ParamValidationError()),
    lambda: Refused(call="dynamodb.Query", code="SomethingNew"),
    lambda: Transient("GitLab did not answer", call="GET /groups/acme", error="ConnectTimeout"),
    lambda: Transient("GitLab did not answer", status=500),
    lambda: Refused("GitLab does not accept this request", call="POST /x", status=400, words="no"),
    # The words of others cannot break the line, steer the terminal or repeat a secret.
    lambda: Refused("refused", words="one\ntwo\x1b[31m\r\tthree"),
    lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    lambda: NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), "/dev/null/up.json"),
    lambda: typer.BadParameter("too many."),
    lambda: typer.TyperException("no."),
)


def test_every_error_is_one_line(
    screen: Callable[[str, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert {type(error).__name__ for error in OF_THIS_MACHINE} <= set(ADVICE_BY_HAND)
    lines = []
    for make in ERRORS:
        error = make()
        code, line = printed(error, capsys)
        assert (code, line.count("\n")) == (getattr(error, "exit_code", 1), 1)
        assert line.isascii()
        assert not set(line[:-1]) & set("\x1b\r\n\t")
        lines.append(line)
    screen("errors", "".join(lines))


WRONG_CALLS = (
    ["exlpain"],
    ["xyz"],
    ["--nope"],
    ["explain"],
    ["status", "x"],
    ["webhook", "regster"],
    ["validate", "none.toml"],
    ["validate", "."],
    ["apply", "."],
    ["status", "--jobs", "0"],
    ["local", "up", "--gitlab-port", "65536"],
    ["local", "up", "--gitlab-port", "-1"],
    ["local", "burst", "--jobs", "0"],
    ["local", "burst", "--credentials", "none"],
    ["local", "burst", "--ceiling", "0"],
    ["local", "chaos", "--at-once", "0"],
    ["local", "chaos", "--seeds", "0"],
)


def test_a_wrong_call_is_one_line_however_narrow_the_terminal(
    screen: Callable[[str, str], None],
) -> None:
    session = Session()
    for arguments in WRONG_CALLS:
        result = CliRunner().invoke(app, arguments, prog_name="runner-fleet", env={"COLUMNS": "20"})
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        session.show(arguments, result)
    screen("wrong_calls", str(session))


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("token glpat-AbC_1.x-9z is bad", "token glpat-... is bad"),
        ("(glrt-t3_abcdef.01.xy)", "(glrt-...)"),
        ("signing_token=whsec_AAEC+/Aw==, no", "signing_token=whsec_..., no"),
        ("glpat-aaaaaa and glpat-bbbbbb", "glpat-... and glpat-..."),
        ("glcbt-64_abcdefgh", "glcbt-..."),
        ("acme/global-variables, glpat-short", "acme/global-variables, glpat-short"),
        ("--gitlab-token-env", "--gitlab-token-env"),
    ],
)
def test_a_secret_that_another_side_repeats_is_not_printed(
    words: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        printed(Refused("refused", words=words), capsys)[1] == f"Error: refused (words={shown})\n"
    )


def test_where_a_laptop_runs_a_call_without_aws_is_reminded_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    use_laptop(None)
    assert "laptop" not in sentence(of_botocore(NoRegionError()))
    (tmp_path / ".runner-fleet/local").mkdir(parents=True)
    (tmp_path / ".runner-fleet/local/env").touch()
    assert "`runner-fleet local up`" in sentence(of_botocore(NoRegionError()))
    use_laptop(False)  # as a command does that has the option
    assert "add --local" in sentence(of_botocore(NoRegionError()))


@pytest.mark.parametrize(
    "error",
    [
        BrokenPipeError(errno.EPIPE, "Broken pipe"),  # typer ends quietly
        OSError("no number, so not the system's"),
        ValueError("a bug"),
        KeyError("a bug"),
    ],
)
def test_an_unforeseen_error_keeps_its_traceback(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(type(error)) as raised, error_lines():
        raise error
    assert raised.value is error
    with error_lines():
        pass
    assert capsys.readouterr() == ("", "")


def test_a_configuration_that_is_wrong_is_a_line_for_each_problem(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ConfigError) as wrong:
        read_config("[gitlab]\nurl = 5\n")
    lines = printed(wrong.value, capsys)[1].splitlines()
    assert len(lines) > 1
    assert all(line.startswith("fleet.toml line ") for line in lines)


# The command itself


def test_help_lists_every_command() -> None:
    shown = CliRunner().invoke(app, ["--help"]).stdout
    assert all(f" {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_in_the_list_is_the_first_of_the_commands_own_help(name: str) -> None:
    assert (load(name).help or "").strip().splitlines()[0] == COMMANDS[name][1]


@pytest.mark.parametrize("arguments", [[], ["webhook"], ["local"]])
def test_a_command_without_arguments_shows_its_help(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, "--help" in result.output) == (2, True)
    assert "Error" not in result.output


def test_a_character_that_the_terminal_lacks_is_no_failure() -> None:
    at_work = AtWork().configure()
    at_work.job(1)
    result = CliRunner(charset="ascii").invoke(app, ["explain", "1"], obj=at_work.deployed)
    assert result.exit_code == 0
    assert "? it waits" in result.stdout


@pytest.mark.parametrize("arguments", [["explain", "x"], ["pool", "pause", "nosuch"]])
def test_with_json_an_error_is_an_object_too(arguments: list[str]) -> None:
    at_work = AtWork().configure()
    plain = CliRunner().invoke(app, arguments, obj=at_work.deployed)
    assert plain.stdout == ""
    shown = CliRunner().invoke(app, [*arguments, "--json"], obj=at_work.deployed)
    assert json.loads(shown.stdout) == {"errors": shown.stderr.splitlines()}
    assert (shown.exit_code, shown.stderr) == (plain.exit_code, plain.stderr)


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_with_json_a_broken_file_is_an_object_of_its_problems(command: str, tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text("[gitlab]\nurl = 5\n")
    shown = CliRunner().invoke(app, [command, str(path), "--json"], obj=AtWork().deployed)
    errors = json.loads(shown.stdout)["errors"]
    assert len(errors) > 1
    assert errors == shown.stderr.splitlines()


def test_an_error_after_the_object_is_no_second_one() -> None:
    stack = AtWork().configure()
    shown = CliRunner().invoke(app, ["explain", "9", "--json"], obj=stack.deployed)
    assert shown.exit_code == 1
    assert json.loads(shown.stdout)["says"]


@pytest.mark.parametrize("arguments", [["jobs", "--pool", "no"], ["runners", "--pool", "no"]])
def test_a_pool_that_fleet_toml_lacks_is_named(arguments: list[str]) -> None:
    shown = CliRunner().invoke(app, arguments, obj=AtWork().configure().deployed)
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert "fleet.toml has no pool no" in shown.stderr


@pytest.mark.parametrize("arguments", [["logs", "999"], ["job", "relaunch", "999"]])
def test_a_job_that_the_ledger_lacks_leads_to_explain(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITLAB_TOKEN", "glpat-x")
    stack = AtWork().configure()
    shown = stack.run(*arguments)
    assert shown.exit_code == 1
    assert "explain 999" in shown.stderr


def test_a_paragraph_of_help_breaks_where_the_terminal_must() -> None:
    for name in COMMANDS:
        command = load(name)
        for each in (command, *getattr(command, "commands", {}).values()):
            assert all("\n" not in part for part in (each.help or "").split("\n\n"))
            assert (each.help or "").partition("Example: ")[0].endswith(("\n\n", ""))
