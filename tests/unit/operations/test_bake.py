"""Machine images: the pipeline's stack, its run, and what the fleet launches afterwards."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from adapters.aws.clients import Clients
from fleet.errors import Refused
from infra.compose import compose
from operations.bake import TEMPLATE, Baked, BakeRequest, bake
from operations.images import workshop_of
from tests.unit.cli.cloudformation import FakeAws
from tests.unit.cli.registry import URI

AGENT = f"{URI}@sha256:{'a' * 64}"
ORDER = BakeRequest(architecture="x86_64", job_images=("python:3.13", "node:24"), every_s=0)
PARAMETER = "/runner-fleet/demo/machine-image-x86_64"


class FakeBakery:
    """A pipeline whose run goes through these states."""

    def __init__(self, *states: str) -> None:
        self._states = list(states)
        self.tokens: list[str] = []

    def start_image_pipeline_execution(self, **arguments: Any) -> dict[str, str]:
        assert arguments["imagePipelineArn"] == "arn:pipeline"
        self.tokens.append(arguments["clientToken"])
        return {"imageBuildVersionArn": "arn:run"}

    def get_image(self, **arguments: Any) -> dict[str, Any]:
        assert arguments["imageBuildVersionArn"] == "arn:run"
        status = self._states.pop(0)
        image: dict[str, Any] = {"state": {"status": status, "reason": f"why {status}"}}
        if status == "AVAILABLE":
            image["outputResources"] = {"amis": [{"image": "ami-0123456789abcdef0"}]}
        return {"image": image}


def world(*states: str, **used: str) -> tuple[FakeAws, Clients]:
    aws = FakeAws({"CodeBucket": "b", "MachineImage": "/aws/service/one"} | used)
    aws.outputs |= {"Pipeline": "arn:pipeline", "Parameter": PARAMETER}
    clients = aws.clients()
    return aws, cast("Clients", SimpleNamespace(**vars(clients), imagebuilder=FakeBakery(*states)))


def run(clients: Clients, order: BakeRequest = ORDER) -> tuple[Baked, list[str]]:
    lines: list[str] = []
    return bake(clients, workshop_of(clients, "demo"), order, lines.append), lines


def test_a_baked_image_is_launched_from_then_on() -> None:
    aws, clients = world("BUILDING", "BUILDING", "DISTRIBUTING", "AVAILABLE", Ec2Image=AGENT)
    baked, lines = run(clients)
    assert baked == Baked(machine_image="ami-0123456789abcdef0", parameter=PARAMETER)
    assert [line for line in lines if "building" in line] == ["machine image: building"]
    assert {"ParameterKey": "MachineImage", "ParameterValue": PARAMETER} in aws.updated
    assert "demo-bake-x86-64" in aws.described


@pytest.mark.parametrize("status", ["FAILED", "CANCELLED"])
def test_an_image_that_is_not_made_changes_no_launch(status: str) -> None:
    aws, clients = world("BUILDING", status, Ec2Image=AGENT)
    with pytest.raises(Refused, match=f"why {status}"):
        run(clients)
    assert aws.request["StackName"] == "demo-bake-x86-64"


def test_the_stack_bakes_the_image_that_the_fleet_uses() -> None:
    aws, clients = world("FAILED", Ec2Image=AGENT)
    with pytest.raises(Refused):
        run(clients)
    parameters = {
        parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in aws.updated
    }
    assert parameters.keys() <= compose(TEMPLATE.read_text())["Parameters"].keys()
    assert (parameters["AgentImage"], parameters["JobImages"]) == (AGENT, "python:3.13 node:24")
    assert (
        parameters["RepositoryArn"]
        == "arn:aws:ecr:eu-central-1:123456789012:repository/demo-images"
    )
    assert (parameters["FleetStack"], parameters["Architecture"]) == ("demo", "x86_64")


def test_what_is_baked_decides_the_revision() -> None:
    revisions = set()
    for images in ((), ("a",), ("b",), ("a",)):
        aws, clients = world("FAILED", Ec2Image=AGENT)
        with pytest.raises(Refused):
            run(clients, BakeRequest(architecture="x86_64", job_images=images, every_s=0))
        revisions |= {
            parameter["ParameterValue"]
            for parameter in aws.updated
            if parameter["ParameterKey"] == "Revision"
        }
    assert len(revisions) == 3


@pytest.mark.parametrize(
    "order",
    [
        BakeRequest(architecture="arm64"),
        BakeRequest(architecture="x86_64", subnet="subnet-1"),
    ],
)
def test_what_cannot_be_baked_is_refused_before_anything_is_made(order: BakeRequest) -> None:
    aws, clients = world(Ec2Image=AGENT)
    with pytest.raises(Refused):
        run(clients, order)
    assert aws.calls == []
