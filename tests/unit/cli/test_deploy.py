"""`deploy`: what the options become, what it says, and when it stops before minutes are spent."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from adapters.gitlab.reach import GitLabAnswer
from adapters.gitlab.way import Way
from cli.deploy import DeployWorld
from cli.main import app
from cli.pairs import read_pair
from infra.image_sources import ImageSources
from tests.unit.cli.cloudformation import FakeAws, refusal
from tests.unit.cli.session import Session
from tests.unit.fleet.rules.standings import FLEET

PROXY = "http://proxy.example.com:3128"
FROM_DIGEST = f"123456789012.dkr.ecr.eu-central-1.amazonaws.com/runner@sha256:{'0123' * 16}"


def sources(binaries: Mapping[str, Path]) -> ImageSources:
    assert not binaries
    return ImageSources(files={"Dockerfile": b"FROM scratch"})


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs: without a fleet.toml."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(
    aws: FakeAws,
    *arguments: str,
    session: Session | None = None,
    pack: bytes | None = b"zip",
    gitlab: GitLabAnswer | None = None,
) -> Result:
    """The command on this AWS; without `pack` it must not come to build the functions' zip.

    `gitlab`: what the GitLab of its fleet.toml answers from here.
    """

    def build() -> bytes:
        assert pack is not None
        return pack

    def ask(url: str, way: Way) -> GitLabAnswer:
        assert (url, way.proxy) == ("https://gitlab.example.com", PROXY)
        assert gitlab is not None
        return gitlab

    world = DeployWorld(aws=aws.clients(), pack=build, ask=ask, sources=sources, every_s=0)
    result = CliRunner().invoke(app, ["deploy", *arguments], prog_name="runner-fleet", obj=world)
    return (session or Session()).show(["deploy", *arguments], result)


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
    assert read_pair(text, "a parameter") == pair


@pytest.mark.parametrize("text", ["LogDays", "=7", ""])
def test_any_other_parameter_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="NAME=VALUE"):
        read_pair(text, "a parameter")


def test_all_that_deploy_says(screen: Callable[[str, str], None]) -> None:
    session, aws = Session(), FakeAws()
    assert run(aws, session=session).exit_code == 0
    assert aws.buckets.keys() == {"runner-fleet-code-123456789012-eu-central-1"}
    aws.failing["update_stack"] = refusal("ValidationError", "No updates are to be performed.")
    assert run(aws, "--stack", "fleet-a", session=session).exit_code == 0
    assert run(aws, "--stack", "fleet-a", "--json", session=session).exit_code == 0
    refused = FakeAws()
    words = "Parameter VpcId failed to satisfy constraint: it is empty"
    refused.failing["create_stack"] = refusal("ValidationError", words)
    assert run(refused, "--bucket", "b", session=session).exit_code == 1
    for arguments in (("-p", "LogDays"), ("-p", "LogDay=7"), ("--stack", "no name")):
        early = FakeAws()
        result = run(early, *arguments, session=session, pack=None)
        code = 2 if "LogDays" in arguments else 1
        assert (result.exit_code, result.stdout, early.calls) == (code, "", [])
    unknown = FakeAws()
    unknown.failing["describe_stacks"] = refusal("UnrecognizedClientException")
    assert run(unknown, session=session, pack=None).exit_code == 1
    screen("deploy", str(session))


REGISTRY = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"


def test_an_image_that_is_not_there_stops_it_at_once(screen: Callable[[str, str], None]) -> None:
    session = Session()
    digest = "sha256:" + "4567" * 16
    for parameter in (
        "MachineImage=ami-0a1b2c3d",
        "MachineImage=/runner-fleet/other",
        "MachineImage=/runner-fleet/text",
        f"LambdaImage={REGISTRY}/runner@{digest}",
        f"LambdaImage={REGISTRY}/runner:latest",
        f"LambdaImage=docker.io/library/node@{digest}",
        f"Ec2Image={REGISTRY.replace('central', 'west')}/runner@{digest}",
        "LogDays=8",
        "VpcCidr=10.0.0.0/8",
    ):
        aws = FakeAws()
        result = run(aws, "-p", parameter, session=session, pack=None)
        assert (result.exit_code, result.stdout, aws.calls) == (1, "", [])
        assert result.stderr.count("\n") == 1
    screen("deploy_images", str(session))


def test_what_the_options_say_is_deployed() -> None:
    aws = FakeAws()
    more = ("-p", "LogDays=7", "--parameter", "CacheDays=3", "-p", f"LambdaImage={FROM_DIGEST}")
    assert run(aws, "--stack", "fleet-a", "--bucket", "mine", "--no-images", *more).exit_code == 0
    assert aws.request["StackName"] == "fleet-a"
    parameters = {entry["ParameterKey"]: entry.get("ParameterValue") for entry in aws.updated}
    assert (parameters["LogDays"], parameters["CacheDays"], parameters["CodeBucket"]) == (
        "7",
        "3",
        "mine",
    )
    assert parameters["LambdaImage"] == FROM_DIGEST
    assert aws.buckets == {}


def test_what_is_new_of_the_images_is_built_and_used() -> None:
    aws = FakeAws({"LambdaImage": FROM_DIGEST, "CodeBucket": "b"})
    assert run(aws, "--stack", "fleet-a").exit_code == 0
    assert [build["TARGETS"] for build in aws.registry.started] == ["ec2", "ec2"]
    parameters = {entry["ParameterKey"]: entry.get("ParameterValue") for entry in aws.updated}
    built = {image["imageDigest"] for image in aws.registry.images.values()}
    assert {
        str(parameters[name]).partition("@")[2] for name in ("Ec2Image", "Ec2ImageArm64")
    } == built
    assert parameters["LambdaImage"] is None  # as it was: the operator chose it


def test_a_stack_whose_images_fail_is_still_deployed() -> None:
    aws = FakeAws({"CodeBucket": "b"})
    aws.registry.failing["x86_64"] = "FAILED"
    result = run(aws)
    assert (result.exit_code, "FAILED" in result.stderr) == (1, True)
    assert aws.calls.count("update_stack") == 1


HERE = GitLabAnswer(answers=True)
NOT_HERE = GitLabAnswer(answers=False, failure="GitLab did not answer (error=ConnectTimeout)")
NETWORK = ("-p", "FunctionSubnetIds=subnet-a", "-p", "FunctionSecurityGroupIds=sg-a")
NO_ANSWER = {"answers": False, "failure": "GitLab did not answer (error=ConnectTimeout)"}


def with_file(folder: Path, more: str = "") -> None:
    (folder / "fleet.toml").write_text(
        FLEET.replace("[gitlab]", f'[gitlab]\nproxy = "{PROXY}"') + more
    )


def test_gitlab_is_asked_before_and_after(folder: Path, screen: Callable[[str, str], None]) -> None:
    """From here, and from the functions: each case with what they answer, and the exit code."""
    with_file(folder)
    session = Session()
    for gitlab, options, answer, code in (
        (HERE, (), {"answers": True}, 0),
        (HERE, (), NO_ANSWER, 1),
        (HERE, NETWORK, NO_ANSWER, 1),
        (HERE, (), {"errorMessage": "Task timed out after 55.00 seconds"}, 1),
        (HERE, (), {"wake": True}, 0),  # functions of an older version
        (NOT_HERE, (), None, 1),
        (NOT_HERE, ("--no-gitlab",), None, 0),
        (NOT_HERE, NETWORK, {"answers": True}, 0),
    ):
        aws = FakeAws()
        aws.answer = answer or {}
        result = run(aws, "--no-images", *options, session=session, gitlab=gitlab)
        assert result.exit_code == code
        # Nothing is deployed where GitLab does not answer; the functions are asked where it may.
        assert bool(aws.calls) is (code == 0 or answer is not None)
        assert len(aws.invoked) == (answer is not None)
    screen("deploy_gitlab", str(session))


def test_a_fleet_toml_that_is_not_valid_stops_no_deployment(folder: Path) -> None:
    with_file(folder, "ceiling = -1\n")
    result = run(FakeAws(), "--no-images", gitlab=HERE)
    assert (result.exit_code, "not valid, so GitLab is not asked" in result.stdout) == (0, True)


def test_an_image_that_is_given_is_not_built() -> None:
    aws = FakeAws({"CodeBucket": "b"})
    options = [f"{name}={FROM_DIGEST}" for name in ("Ec2Image", "Ec2ImageArm64", "LambdaImage")]
    assert run(aws, *(word for option in options for word in ("-p", option))).exit_code == 0
    assert aws.registry.started == []


@pytest.mark.parametrize(
    "parameter",
    ["MachineImage=/runner-fleet/image", f"Ec2Image=quay.io/acme/runner@sha256:{'4567' * 16}"],
)
def test_an_image_that_is_there_or_of_another_registry_is_taken(parameter: str) -> None:
    assert run(FakeAws(), "-p", parameter).exit_code == 0
