"""What is asked of EC2, and what is made of its answers."""

import json
from collections.abc import Iterator

import pytest

from fleet.config.reading import PoolConfig
from fleet.errors import Transient
from fleet.rules.capacity import ErrorKind
from tests.unit.adapters.ec2_cloud import POOL, Cloud, ec2_cloud, pool


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with ec2_cloud() as running:
        yield running


def test_machines_are_kept_when_their_timer_is_refused(
    cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud.gives("i-1", "i-2")
    cloud.scheduler.add_client_error("create_schedule", "ServiceQuotaExceededException")
    came = cloud.backend.launch(pool(), cloud.order("rf-linux-1", "rf-linux-2"))
    assert [(one.runner_id, one.machine_id, one.mailbox) for one in came.launched] == [
        ("rf-linux-1", "i-1", "AROA:i-1"),
        ("rf-linux-2", "i-2", "AROA:i-2"),
    ]
    line = json.loads(capsys.readouterr().out)
    assert (line["event"], line["level"]) == ("MachinesUnguarded", "WARNING")
    assert (line["launch_id"], line["machines"]) == ("l1", 2)
    assert "ServiceQuotaExceededException" in line["error"]


@pytest.mark.parametrize("code", ["RequestLimitExceeded", "ServiceUnavailable"])
def test_after_a_lost_answer_no_other_market_is_asked(cloud: Cloud, code: str) -> None:
    """It may have launched: asked elsewhere, there would be two machines for each runner."""
    cloud.ec2.add_client_error("create_fleet", code)
    order = cloud.order("rf-linux-1")
    came = cloud.backend.launch(pool(), order)
    assert came.launched == ()
    assert {one.kind for one in came.shortfalls} == {ErrorKind.THROTTLE}
    assert tuple(one.capacity for one in came.shortfalls) == order.try_in


def test_a_market_that_is_refused_is_left_alone_and_the_other_one_is_not(cloud: Cloud) -> None:
    message = "you have no service-linked role for spot"
    cloud.ec2.add_client_error("create_fleet", "AuthFailure", message)
    cloud.gives("i-1", ClientToken="l1-on-demand")
    cloud.takes_timer()
    came = cloud.backend.launch(pool(), cloud.order("rf-linux-1"))
    assert [one.machine_id for one in came.launched] == ["i-1"]
    assert [str(one.capacity) for one in came.shortfalls] == [
        "m7i.large/subnet-1/spot",
        "m7a.large/subnet-1/spot",
    ]
    assert all(message in one.message for one in came.shortfalls)


THREE = ("subnet-0000000a", "subnet-0000000b", "subnet-0000000c")


def in_subnets(*subnets: str) -> PoolConfig:
    """A pool of one type, on demand, in these subnets."""
    text = POOL.replace("spot-then-on-demand", "on-demand").replace(', "m7a.large"', "")
    return pool(text + f"subnets = {json.dumps(subnets)}\n")


def described(cloud: Cloud, **zones: str) -> None:
    """EC2 tells the zones of these subnets when it is asked for all three."""
    told = [{"SubnetId": f"subnet-0000000{n}", "AvailabilityZone": z} for n, z in zones.items()]
    asked = {"Filters": [{"Name": "subnet-id", "Values": list(THREE)}]}
    cloud.ec2.add_response("describe_subnets", {"Subnets": told}, asked)


def offered(cloud: Cloud) -> list[str]:
    """The subnets of the places that a pool in all three is offered."""
    return [one.subnet for one in cloud.backend.capacity_pools(in_subnets(*THREE))]


def test_of_two_subnets_in_a_zone_the_first_is_taken_and_ec2_asked_once(cloud: Cloud) -> None:
    described(cloud, a="eu-central-1a", b="eu-central-1a", c="eu-central-1b")
    assert offered(cloud) == ["subnet-0000000a", "subnet-0000000c"]
    assert offered(cloud) == ["subnet-0000000a", "subnet-0000000c"]


def test_two_subnets_are_enough_to_ask(cloud: Cloud) -> None:
    zones = [{"SubnetId": one, "AvailabilityZone": "eu-central-1a"} for one in THREE[:2]]
    asked = {"Filters": [{"Name": "subnet-id", "Values": list(THREE[:2])}]}
    cloud.ec2.add_response("describe_subnets", {"Subnets": zones}, asked)
    (place,) = cloud.backend.capacity_pools(in_subnets(*THREE[:2]))
    assert place.subnet == THREE[0]


def test_a_subnet_that_ec2_does_not_know_stays_for_ec2_to_refuse(cloud: Cloud) -> None:
    described(cloud, a="eu-central-1a", c="eu-central-1a")
    assert offered(cloud) == ["subnet-0000000a", "subnet-0000000b"]


def test_where_subnets_may_not_be_described_all_are_taken(cloud: Cloud) -> None:
    cloud.ec2.add_client_error("describe_subnets", "UnauthorizedOperation")
    assert offered(cloud) == list(THREE)
    assert offered(cloud) == list(THREE)


def test_one_subnet_needs_no_question(cloud: Cloud) -> None:
    (place,) = cloud.backend.capacity_pools(in_subnets(THREE[0]))
    assert str(place) == "m7i.large/subnet-0000000a/on-demand"


def test_where_ec2_does_not_answer_now_it_is_asked_again_the_next_time(cloud: Cloud) -> None:
    cloud.ec2.add_client_error("describe_subnets", "RequestLimitExceeded")
    with pytest.raises(Transient, match=r"ec2\.DescribeSubnets"):
        offered(cloud)
    described(cloud, a="eu-central-1a", b="eu-central-1a", c="eu-central-1a")
    assert offered(cloud) == ["subnet-0000000a"]


@pytest.mark.parametrize(
    ("market", "offered_in"),
    [
        ("spot", ["spot"]),
        ("on-demand", ["on-demand"]),
        ("spot-then-on-demand", ["spot", "on-demand"]),
    ],
)
def test_places_come_market_by_market_and_then_by_type(
    market: str, offered_in: list[str], cloud: Cloud
) -> None:
    places = cloud.backend.capacity_pools(pool(POOL.replace("spot-then-on-demand", market)))
    types = ("m7i.large", "m7a.large")
    wanted = [f"{kind}/subnet-1/{one}" for one in offered_in for kind in types]
    assert [str(place) for place in places] == wanted
