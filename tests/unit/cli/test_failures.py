"""What went wrong, as people read it: one line each, with what to do, and no tracebacks."""

import errno
import os
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

from adapters.aws.clients import aws_call
from cli.failures import sentence, told
from fleet.aws_errors import ADVICE_BY_HAND
from fleet.errors import FleetError, Refused, Transient

SAID = "User: arn:aws:iam::123456789012:user/dana is not authorized to perform: sqs:SendMessage"


def said_by_aws(code: str, words: str) -> FleetError:
    """What the fleet makes of an answer of AWS."""
    answer: Any = {"Error": {"Code": code, "Message": words}}
    with pytest.raises(FleetError) as raised, aws_call("sqs.SendMessage"):
        raise ClientError(answer, "SendMessage")
    return raised.value


def refused_here(error: BotoCoreError) -> FleetError:
    """What the fleet makes of a call that did not leave this machine."""
    with pytest.raises(FleetError) as raised, aws_call("sqs.SendMessage"):
        raise error
    return raised.value


def line(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code, and all that was said."""
    with pytest.raises(typer.Exit) as ended, told():
        raise error
    out = capsys.readouterr()
    assert out.out == ""
    return ended.value.exit_code, out.err


# AWS


def test_an_answer_that_we_have_no_advice_for_is_told_in_awss_words() -> None:
    error = said_by_aws("ValidationError", "Parameters: [NoSuch] do not exist in the template.")
    assert sentence(error) == (
        "AWS says: Parameters: [NoSuch] do not exist in the template "
        "(sqs.SendMessage: ValidationError)"
    )


@pytest.mark.parametrize("code", ["AccessDenied", "AccessDeniedException"])
def test_a_right_that_is_missing_is_named(code: str) -> None:
    assert sentence(said_by_aws(code, SAID)) == (
        "these AWS credentials may not do this: see docs/operations.md; "
        f"AWS says: {SAID} (sqs.SendMessage: {code})"
    )


def test_where_we_know_what_to_do_awss_words_are_left_out() -> None:
    error = said_by_aws("ExpiredToken", "The provided token has expired.")
    says = "the AWS credentials are too old: log in again (sqs.SendMessage: ExpiredToken)"
    assert sentence(error) == says


@pytest.mark.parametrize(
    ("error", "do"),
    [
        (NoCredentialsError(), "set AWS_PROFILE, or log in"),
        (NoRegionError(), "set AWS_DEFAULT_REGION"),
        (PartialCredentialsError(provider="env", cred_var="secret"), "check the environment"),
        (ProfileNotFound(profile="nope"), "check AWS_PROFILE"),
        (EndpointConnectionError(endpoint_url="http://x"), "check the network and AWS_ENDPOINT"),
        (ConnectTimeoutError(endpoint_url="http://x"), "check the network and AWS_ENDPOINT"),
        (SSOTokenLoadError(error_msg="none"), "aws sso login"),
        (UnauthorizedSSOTokenError(), "aws sso login"),
        (TokenRetrievalError(provider="sso", error_msg="old"), "aws sso login"),
    ],
)
def test_what_is_wrong_on_this_machine_says_what_to_do(error: BotoCoreError, do: str) -> None:
    assert type(error).__name__ in ADVICE_BY_HAND
    told_of = sentence(refused_here(error))
    assert do in told_of
    assert told_of.endswith(f"(sqs.SendMessage: {type(error).__name__})")


def test_a_call_that_is_wrong_in_itself_is_told_in_botocores_words() -> None:
    class ParamValidationError(BotoCoreError):
        fmt = "Invalid bucket name"

    says = "Invalid bucket name (sqs.SendMessage: ParamValidationError)"
    assert sentence(refused_here(ParamValidationError())) == says


@pytest.mark.parametrize("code", ["AccessDenied", "SomethingNew"])
def test_an_answer_without_words_is_told_as_far_as_it_goes(code: str) -> None:
    told_of = sentence(said_by_aws(code, ""))
    assert f"sqs.SendMessage: {code})" in told_of
    assert "AWS says" not in told_of


# GitLab


def test_a_gitlab_that_does_not_answer_says_what_to_check() -> None:
    error = Transient("GitLab did not answer", call="GET /groups/acme", error="ConnectTimeout")
    assert sentence(error) == (
        "GitLab did not answer: check its address and the network, then run this again "
        "(GET /groups/acme: ConnectTimeout)"
    )


def test_what_gitlab_says_stays_as_it_is() -> None:
    error = Refused("GitLab does not accept this request", call="POST /x", status=400, said="no")
    assert sentence(error) == str(error)


# As lines


def test_the_words_of_others_cannot_break_the_line_or_steer_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = Refused("refused", said="one\ntwo\x1b[31m\r\tthree")
    assert line(error, capsys) == (1, "Error: refused (said=one two [31m three)\n")


@pytest.mark.parametrize(
    ("said", "shown"),
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
def test_a_secret_that_others_repeat_is_not_repeated(
    said: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert line(Refused("refused", said=said), capsys)[1] == f"Error: refused (said={shown})\n"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
            "Error: No space left on device\n",
        ),
        (
            NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), "/dev/null/up.json"),
            "Error: Not a directory: /dev/null/up.json\n",
        ),
    ],
)
def test_what_the_system_refuses_is_a_line(
    error: OSError, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert line(error, capsys) == (1, says)


@pytest.mark.parametrize(
    "error",
    [
        BrokenPipeError(errno.EPIPE, "Broken pipe"),  # typer ends quietly
        OSError("no number, so not the system's"),
        ValueError("a bug"),
        KeyError("a bug"),
    ],
)
def test_others_pass_as_they_are(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(type(error)) as raised, told():
        raise error
    assert raised.value is error
    assert capsys.readouterr().err == ""


def test_without_an_error_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with told():
        pass
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (typer.BadParameter("too many."), "Error: Invalid value: too many; see `runner-fleet"),
        (typer.TyperException("no."), "Error: no; see `runner-fleet --help`"),
    ],
)
def test_a_wrong_call_points_to_the_help(
    error: typer.TyperException, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told_of = line(error, capsys)
    assert code == error.exit_code
    assert told_of.startswith(says)
    assert told_of.count("\n") == 1
