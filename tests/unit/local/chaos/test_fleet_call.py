"""CreateFleet on a bad day: the request to the engine, and the answer to the fleet."""

from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import EC2QueryParser

from local.chaos.fleet_call import (
    Disruption,
    FleetCall,
    Override,
    with_errors,
)
from local.chaos.query import Fields

DRY = "InsufficientInstanceCapacity"
A = Override(instance_type="m7i.large", subnet="subnet-a")
B = Override(instance_type="m7a.large", subnet="subnet-b")
ENGINE = b"<CreateFleetResponse><fleetInstanceSet/><errorSet/></CreateFleetResponse>"


def fields(count: int = 3, market: str = "spot", places: tuple[Override, ...] = (A, B)) -> Fields:
    """A request as botocore writes it."""
    request = {
        "Action": "CreateFleet",
        "Type": "instant",
        "LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateId": "lt-1",
        "TargetCapacitySpecification.TotalTargetCapacity": str(count),
        "TargetCapacitySpecification.DefaultTargetCapacityType": market,
    }
    for number, place in enumerate(places, start=1):
        prefix = f"LaunchTemplateConfigs.1.Overrides.{number}."
        request |= {
            f"{prefix}InstanceType": place.instance_type,
            f"{prefix}SubnetId": place.subnet,
            f"{prefix}ImageId": f"ami-{number}",
        }
    return request


def call(**asked: Any) -> FleetCall:
    """The same, read."""
    return FleetCall.of(fields(**asked))


def parsed(body: bytes) -> dict[str, Any]:
    """An answer as the fleet's own client reads it."""
    model = ServiceModel(Loader().load_service_model("ec2", "service-2"), "ec2")
    shape = model.operation_model("CreateFleet").output_shape
    assert shape
    answer: dict[str, Any] = EC2QueryParser().parse(
        {"body": body, "headers": {}, "status_code": 200}, shape
    )
    return answer


def test_the_fleets_client_reads_an_error_for_each_dry_place() -> None:
    answer = parsed(with_errors(ENGINE, call(), Disruption(dry={A: DRY})))
    (error,) = answer["Errors"]
    assert error["ErrorCode"] == DRY
    assert error["Lifecycle"] == "spot"
    override = error["LaunchTemplateAndOverrides"]["Overrides"]
    assert override == {"InstanceType": "m7i.large", "SubnetId": "subnet-a"}
    assert answer["Instances"] == []


@pytest.mark.parametrize(("count", "blamed"), [(3, [DRY, DRY]), (1, [])])
def test_only_too_few_machines_blame_every_place(count: int, blamed: list[str]) -> None:
    answer = parsed(with_errors(ENGINE, call(count=count), Disruption(most=1)))
    assert [error["ErrorCode"] for error in answer.get("Errors", [])] == blamed
