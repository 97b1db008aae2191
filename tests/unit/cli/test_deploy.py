"""`deploy`: what is given on the command line, and what is said of it."""

from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from cli.deploy import DeployWorld, packed, read_parameter
from cli.main import app
from fleet.errors import Refused
from tests.unit.cli.cloudformation import FakeAws, refusal

FROM_DIGEST = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/runner@sha256:0123"


def run(aws: FakeAws, *arguments: str, pack: Callable[[], bytes] = lambda: b"zip") -> Result:
    """The command on this AWS; `pack` gives the functions' zip."""
    world = DeployWorld(aws=aws.clients(), pack=pack)
    return CliRunner().invoke(app, ["deploy", *arguments], obj=world)


def given(aws: FakeAws) -> dict[str, str]:
    return {one["ParameterKey"]: one.get("ParameterValue", "as before") for one in aws.updated}


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("LogDays=7", ("LogDays", "7")),
        ("AlarmTopicArn=", ("AlarmTopicArn", "")),
        ("SubnetIds=subnet-1,subnet-2", ("SubnetIds", "subnet-1,subnet-2")),
        ("X=a=b", ("X", "a=b")),
    ],
)
def test_a_parameter_is_a_name_and_a_value(text: str, pair: tuple[str, str]) -> None:
    assert read_parameter(text) == pair


@pytest.mark.parametrize("text", ["LogDays", "=7", ""])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="NAME=VALUE"):
        read_parameter(text)


def test_a_new_stack_is_told_with_what_comes_next() -> None:
    aws = FakeAws()
    result = run(aws)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "installing what the functions import",
        "deploying runner-fleet, which takes some minutes",
        "runner-fleet is created; GitLab shall post to https://hook.example.com/webhook",
        "next:",
        "  runner-fleet apply --gitlab-token-env GITLAB_TOKEN",
        "  runner-fleet webhook register --gitlab-url https://gitlab.example.com --group my-group",
    ]
    assert aws.buckets.keys() == {"runner-fleet-code-123456789012-eu-central-1"}


def test_later_nothing_comes_next() -> None:
    aws = FakeAws({})
    aws.failing["update_stack"] = refusal("ValidationError", "No updates are to be performed.")
    last = run(aws, "--stack", "fleet-a").stdout.splitlines()[-1]
    assert last.startswith("fleet-a is unchanged; GitLab shall post to https://hook.example.com")


def test_what_is_given_is_deployed() -> None:
    aws = FakeAws()
    more = ("-p", "LogDays=7", "--parameter", "CacheDays=3", "--runner-image", FROM_DIGEST)
    result = run(aws, "--stack", "fleet-a", "--bucket", "mine", *more)
    assert result.exit_code == 0
    assert aws.request["StackName"] == "fleet-a"
    told = given(aws)
    assert (told["LogDays"], told["CacheDays"], told["CodeBucket"]) == ("7", "3", "mine")
    assert told["RunnerImageUri"] == FROM_DIGEST
    assert aws.buckets == {}


def test_no_image_is_no_parameter() -> None:
    aws = FakeAws()
    run(aws)
    assert "RunnerImageUri" not in given(aws)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("-p", "LogDays"), "", "write a parameter as NAME=VALUE (given=LogDays)"),
        (("-p", "LogDay=7"), "", "the template has no parameter LogDay: did you mean LogDays?"),
        (("--stack", "no name"), "", "a stack's name is letters, digits and hyphens"),
        ((), "UnrecognizedClientException", "AWS does not know these credentials"),
    ],
)
def test_what_cannot_work_is_said_before_minutes_are_spent(
    arguments: tuple[str, ...], code: str, says: str
) -> None:
    aws = FakeAws()
    if code:
        aws.failing["describe_stacks"] = refusal(code)
    packed = []

    def pack() -> bytes:
        packed.append("packed")
        return b"zip"

    result = run(aws, *arguments, pack=pack)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {says}")
    assert result.stderr.count("\n") == 1
    assert (packed, aws.calls) == ([], [])


def test_a_stack_that_is_not_taken_is_told_in_cloudformations_words() -> None:
    aws = FakeAws()
    words = "Parameter VpcId failed to satisfy constraint: it is empty"
    aws.failing["create_stack"] = refusal("ValidationError", words)
    result = run(aws, "--bucket", "b")
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: AWS says: {words} (cloudformation.CreateStack: ValidationError)\n"
    )


def test_a_pip_that_fails_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_USER", "1")  # which pip refuses together with a target
    with pytest.raises(Refused, match="its own lines are above"):
        packed()
    assert "ERROR" in capfd.readouterr().err
