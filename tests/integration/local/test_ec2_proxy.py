"""The proxy in front of the engine's EC2, called as the fleet calls: signed, over boto3."""

from collections.abc import Iterator
from typing import Any

import pytest

from local.aws.engine import ACCOUNT, REGION, Engine
from local.aws.stack import Stack
from local.chaos.ec2_proxy import Ec2Proxy
from local.chaos.fleet_call import Disruption, FleetCall

DRY = "InsufficientInstanceCapacity"
TYPES = ("m7i.large", "m7a.large")
AT_WORK = {7: "rf-docker-1"}


@pytest.fixture
def proxy(engine: Engine) -> Iterator[Ec2Proxy]:
    with Ec2Proxy(lambda: AT_WORK) as running:
        running.forward_to(engine.url, engine.session())
        yield running


@pytest.fixture
def ec2(engine: Engine, stack: Stack, proxy: Ec2Proxy) -> Any:
    """EC2 for the autoscaler's own role: its signature must fit when the call arrives."""
    function = engine.client("lambda").get_function_configuration(
        FunctionName=f"{stack.name}-scale"
    )
    role = str(function["Role"]).rpartition("/")[2]
    keys = engine.role_environment(f"arn:aws:iam::{ACCOUNT}:role/{role}", "chaos")
    return engine.session().client(
        "ec2",
        endpoint_url=proxy.url,
        region_name=REGION,
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=keys["AWS_SESSION_TOKEN"],
    )


def launch(ec2: Any, stack: Stack, count: int) -> dict[str, Any]:
    """One instant fleet over two types."""
    subnet = stack.subnets.split(",")[0]
    template = {"LaunchTemplateId": stack.launch_template, "Version": "$Latest"}
    overrides = [{"InstanceType": kind, "SubnetId": subnet} for kind in TYPES]
    tags = [{"Key": "runner-fleet:stack", "Value": stack.name}]
    answer: dict[str, Any] = ec2.create_fleet(
        Type="instant",
        LaunchTemplateConfigs=[{"LaunchTemplateSpecification": template, "Overrides": overrides}],
        TargetCapacitySpecification={
            "TotalTargetCapacity": count,
            "DefaultTargetCapacityType": "on-demand",
        },
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )
    return answer


def machines(answer: dict[str, Any]) -> list[str]:
    return [machine for group in answer["Instances"] for machine in group["InstanceIds"]]


def test_without_a_fault_calls_go_through_and_terminations_are_recorded(
    stack: Stack, proxy: Ec2Proxy, ec2: Any
) -> None:
    answer = launch(ec2, stack, 2)
    assert len(machines(answer)) == 2
    assert not answer.get("Errors")
    ec2.terminate_instances(InstanceIds=machines(answer))
    record = proxy.take_calls()
    (ended,), launches, changed = record.terminations, record.launches, record.spoiled
    assert (launches, changed) == (1, 0)
    assert sorted(ended.machine_ids) == sorted(machines(answer))
    assert ended.at_work == AT_WORK


def test_a_dry_place_gives_an_error_and_the_other_all_machines(
    stack: Stack, proxy: Ec2Proxy, ec2: Any
) -> None:
    def first_is_dry(call: FleetCall) -> Disruption:
        return Disruption(dry={call.overrides[0]: DRY})

    proxy.fault = first_is_dry
    answer = launch(ec2, stack, 3)
    assert [group["InstanceType"] for group in answer["Instances"]] == ["m7a.large"]
    assert len(machines(answer)) == 3
    (error,) = answer["Errors"]
    assert (error["ErrorCode"], error["Lifecycle"]) == (DRY, "on-demand")
    assert error["LaunchTemplateAndOverrides"]["Overrides"] == {
        "InstanceType": "m7i.large",
        "SubnetId": stack.subnets.split(",")[0],
    }
    assert proxy.take_calls().spoiled == 1
    ec2.terminate_instances(InstanceIds=machines(answer))
