"""The proxy in front of the engine's EC2, called as the fleet calls: signed, over boto3."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local.aws.engine import ACCOUNT, REGION, Engine
from local.aws.stack import Stack
from local.chaos.ec2_proxy import Ec2Proxy
from local.chaos.fleet_call import Disruption, FleetCall, Override

DRY = "InsufficientInstanceCapacity"
TYPES = ("m7i.large", "m7a.large")
ONCE = Config(retries={"mode": "standard", "total_max_attempts": 1})
SEEN = {7: "rf-docker-1"}


@pytest.fixture
def proxy(engine: Engine) -> Iterator[Ec2Proxy]:
    with Ec2Proxy(observe=lambda: SEEN) as running:
        running.forward_to(engine.url, engine.session())
        yield running


@pytest.fixture
def ec2(engine: Engine, stack: Stack, proxy: Ec2Proxy) -> Any:
    """EC2 as the autoscaler's own role sees it: what it signs must fit when it arrives."""
    role = f"arn:aws:iam::{ACCOUNT}:role/{_role_of(engine, f'{stack.name}-scale')}"
    keys = engine.role_environment(role, "chaos")
    return boto3.client(
        "ec2",
        endpoint_url=proxy.url,
        region_name=REGION,
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=keys["AWS_SESSION_TOKEN"],
        config=ONCE,
    )


def _role_of(engine: Engine, function: str) -> str:
    found = engine.client("lambda").get_function_configuration(FunctionName=function)
    return str(found["Role"]).rpartition("/")[2]


def launch(ec2: Any, stack: Stack, count: int = 2) -> dict[str, Any]:
    """One instant fleet over two types."""
    subnet = stack.subnets.split(",")[0]
    told: dict[str, Any] = ec2.create_fleet(
        Type="instant",
        LaunchTemplateConfigs=[
            {
                "LaunchTemplateSpecification": {
                    "LaunchTemplateId": stack.launch_template,
                    "Version": "$Latest",
                },
                "Overrides": [{"InstanceType": kind, "SubnetId": subnet} for kind in TYPES],
            }
        ],
        TargetCapacitySpecification={
            "TotalTargetCapacity": count,
            "DefaultTargetCapacityType": "on-demand",
        },
        TagSpecifications=[
            {
                "ResourceType": "instance",
                "Tags": [{"Key": "runner-fleet:stack", "Value": stack.name}],
            }
        ],
    )
    return told


def machines(told: dict[str, Any]) -> list[str]:
    return [one for group in told["Instances"] for one in group["InstanceIds"]]


def end(engine: Engine, told: dict[str, Any]) -> None:
    engine.client("ec2").terminate_instances(InstanceIds=machines(told))


def test_without_a_fault_everything_goes_through_as_it_was_signed(
    engine: Engine, stack: Stack, proxy: Ec2Proxy, ec2: Any
) -> None:
    told = launch(ec2, stack)
    assert len(machines(told)) == 2
    assert not told.get("Errors")
    assert proxy.take_record() == ((), 1, 0)
    end(engine, told)


def test_what_the_fleet_ends_is_on_record_with_what_was_seen_then(
    engine: Engine, stack: Stack, proxy: Ec2Proxy, ec2: Any
) -> None:
    told = launch(ec2, stack)
    ec2.terminate_instances(InstanceIds=machines(told))
    (ended,), _, _ = proxy.take_record()
    assert sorted(ended.machine_ids) == sorted(machines(told))
    assert ended.context == SEEN
    assert proxy.take_record() == ((), 0, 0)


def test_a_dry_place_gives_an_error_and_the_other_all_machines(
    engine: Engine, stack: Stack, proxy: Ec2Proxy, ec2: Any
) -> None:
    def first_is_dry(call: FleetCall) -> Disruption:
        return Disruption(dry={call.places[0]: DRY})

    proxy.fault = first_is_dry
    told = launch(ec2, stack, count=3)
    assert [group["InstanceType"] for group in told["Instances"]] == ["m7a.large"]
    assert len(machines(told)) == 3
    assert [error["ErrorCode"] for error in told["Errors"]] == [DRY]
    assert proxy.take_record()[2] == 1
    end(engine, told)


@pytest.mark.parametrize("code", ["RequestLimitExceeded", "VcpuLimitExceeded"])
def test_a_refusal_arrives_as_aws_would_say_it(
    stack: Stack, proxy: Ec2Proxy, ec2: Any, code: str
) -> None:
    proxy.fault = lambda _: Disruption(refuse=code)
    with pytest.raises(ClientError) as refused:
        launch(ec2, stack)
    assert refused.value.response["Error"]["Code"] == code


def test_while_the_engine_is_away_the_fleet_is_asked_to_wait(proxy: Ec2Proxy, ec2: Any) -> None:
    proxy.forward_to("http://127.0.0.1:9", boto3.Session())
    with pytest.raises(ClientError) as refused:
        ec2.describe_instances()
    assert refused.value.response["Error"]["Code"] == "ServiceUnavailable"


def test_places_are_compared_by_type_and_subnet() -> None:
    one = Override(instance_type="m7i.large", subnet="subnet-1")
    assert one == Override(instance_type="m7i.large", subnet="subnet-1")
    assert one != Override(instance_type="m7i.large", subnet="subnet-2")
