"""What is asked of EC2, and what is made of its answers."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.stub import ANY

from adapters.machines.backend import LaunchResult, Machine
from adapters.machines.ec2 import BATCH
from fleet.aws_errors import ErrorKind
from fleet.config.model import PoolConfig
from fleet.errors import FleetError, Refused, Transient
from tests.fakes import AT
from tests.unit.adapters.ec2_cloud import POOL, Cloud, ec2_cloud, pool

NONE_THERE = "InsufficientInstanceCapacity"


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with ec2_cloud() as running:
        yield running


def machines(result: LaunchResult) -> list[str]:
    return [launched.machine_id for launched in result.launched]


def places(result: LaunchResult) -> list[str]:
    """Where there were fewer machines than asked for."""
    return [str(shortfall.capacity) for shortfall in result.shortfalls]


def short(code: str, kind: str | None = "m7i.large", message: str = "") -> dict[str, Any]:
    """One of the errors in CreateFleet's answer."""
    where = {"InstanceType": kind, "SubnetId": "subnet-1"} if kind else {}
    error = {"LaunchTemplateAndOverrides": {"Overrides": where}, "ErrorCode": code}
    return error | ({"ErrorMessage": message} if message else {})


def test_machines_are_kept_when_their_timer_is_refused(
    cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud.gives("i-0", "i-1")
    cloud.scheduler.add_client_error("create_schedule", "ServiceQuotaExceededException")
    result = cloud.launch(2)
    assert [
        (launched.runner_id, launched.machine_id, launched.mailbox) for launched in result.launched
    ] == [
        ("rf-linux-0", "i-0", "AROA:i-0"),
        ("rf-linux-1", "i-1", "AROA:i-1"),
    ]
    line = json.loads(capsys.readouterr().out)
    assert (line["event"], line["level"]) == ("MachinesUnguarded", "WARNING")
    assert (line["launch_id"], line["machines"]) == ("l1", 2)
    assert "ServiceQuotaExceededException" in line["error"]


@pytest.mark.parametrize("code", ["RequestLimitExceeded", "ServiceUnavailable"])
def test_after_a_lost_answer_no_other_market_is_asked(cloud: Cloud, code: str) -> None:
    """It may have launched: asked elsewhere, there would be two machines for each runner."""
    cloud.ec2.add_client_error("create_fleet", code)
    result = cloud.launch(1)
    assert result.launched == ()
    assert {shortfall.kind for shortfall in result.shortfalls} == {ErrorKind.THROTTLE}
    assert tuple(shortfall.capacity for shortfall in result.shortfalls) == cloud.order().try_in


def test_a_market_that_is_refused_is_left_alone_and_the_other_one_is_not(cloud: Cloud) -> None:
    message = "you have no service-linked role for spot"
    cloud.ec2.add_client_error("create_fleet", "AuthFailure", message)
    cloud.gives("i-1", ClientToken="l1-on-demand", timed=True)
    result = cloud.launch(1)
    assert machines(result) == ["i-1"]
    assert places(result) == ["m7i.large/subnet-1/spot", "m7a.large/subnet-1/spot"]
    assert all(message in shortfall.message for shortfall in result.shortfalls)


THREE = ("subnet-0000000a", "subnet-0000000b", "subnet-0000000c")


def in_subnets(*subnets: str) -> PoolConfig:
    """A pool of one type, on demand, in these subnets."""
    text = POOL.replace("spot-then-on-demand", "on-demand").replace(', "m7a.large"', "")
    return pool(text + f"subnets = {json.dumps(subnets)}\n")


def described(cloud: Cloud, *names: str, **zones: str) -> None:
    """EC2 tells the zones of these subnets when it is asked for all three, or for `asked`."""
    subnets = [
        {"SubnetId": f"subnet-0000000{n}", "AvailabilityZone": f"eu-central-1{z}"}
        for n, z in zones.items()
    ]
    filters = {"Filters": [{"Name": "subnet-id", "Values": list(names or THREE)}]}
    cloud.ec2.add_response("describe_subnets", {"Subnets": subnets}, filters)


def offered(cloud: Cloud, *subnets: str) -> list[str]:
    """The subnets of the places that a pool in these, or in all three, is offered."""
    return [
        capacity.subnet
        for capacity in cloud.backend.capacity_pools(in_subnets(*(subnets or THREE)))
    ]


def test_of_two_subnets_in_a_zone_the_first_is_taken_and_ec2_asked_once(cloud: Cloud) -> None:
    described(cloud, a="a", b="a", c="b")
    for _ in range(2):
        assert offered(cloud) == ["subnet-0000000a", "subnet-0000000c"]


def test_two_subnets_are_enough_to_ask_and_one_is_not(cloud: Cloud) -> None:
    assert offered(cloud, THREE[0]) == [THREE[0]]
    described(cloud, *THREE[:2], a="a", b="a")
    assert offered(cloud, *THREE[:2]) == [THREE[0]]


def test_a_subnet_that_ec2_does_not_know_stays_for_ec2_to_refuse(cloud: Cloud) -> None:
    described(cloud, a="a", c="a")
    assert offered(cloud) == ["subnet-0000000a", "subnet-0000000b"]


def test_where_subnets_may_not_be_described_all_are_taken(cloud: Cloud) -> None:
    cloud.ec2.add_client_error("describe_subnets", "UnauthorizedOperation")
    for _ in range(2):
        assert offered(cloud) == list(THREE)


def test_where_ec2_does_not_answer_now_it_is_asked_again_the_next_time(cloud: Cloud) -> None:
    cloud.ec2.add_client_error("describe_subnets", "RequestLimitExceeded")
    with pytest.raises(Transient, match=r"ec2\.DescribeSubnets"):
        offered(cloud)
    described(cloud, a="a", b="a", c="a")
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
    of_market = pool(POOL.replace("spot-then-on-demand", market))
    assert [str(place) for place in cloud.backend.capacity_pools(of_market)] == [
        f"{kind}/subnet-1/{subnet}" for subnet in offered_in for kind in ("m7i.large", "m7a.large")
    ]


def templates(template: object, *overrides: dict[str, Any]) -> dict[str, Any]:
    """What CreateFleet is asked to launch from."""
    configuration = {"LaunchTemplateSpecification": template, "Overrides": list(overrides) or ANY}
    return {"LaunchTemplateConfigs": [configuration]}


def test_one_call_asks_for_an_instant_fleet_of_one_market(cloud: Cloud) -> None:
    tags = {
        "runner-fleet:stack": "fleet",
        "runner-fleet:pool": "linux",
        "runner-fleet:executor": "docker",
        "runner-fleet:launch": "l1",
        "runner-fleet:expires": AT.isoformat(),
        "Name": "fleet-linux",
    }
    tagged = [{"Key": key, "Value": value} for key, value in tags.items()]
    kinds = ({"InstanceType": kind} for kind in ("m7i.large", "m7a.large"))
    cloud.gives(
        "i-0",
        "i-1",
        "i-2",
        timed=True,
        Type="instant",
        ClientToken="l1-spot",
        TargetCapacitySpecification={"TotalTargetCapacity": 3, "DefaultTargetCapacityType": "spot"},
        SpotOptions={"AllocationStrategy": "price-capacity-optimized"},
        OnDemandOptions={"AllocationStrategy": "lowest-price"},
        TagSpecifications=[{"ResourceType": "instance", "Tags": tagged}],
        **templates(
            {"LaunchTemplateId": "lt-1", "Version": "$Latest"},
            *({**kind, "SubnetId": "subnet-1"} for kind in kinds),
        ),
    )
    result = cloud.launch(3)
    assert [launched.runner_id for launched in result.launched] == [
        f"rf-linux-{n}" for n in range(3)
    ]
    assert result.shortfalls == ()


ARM = {"ImageId": "resolve:ssm:/aws/service/arm64"}
OWN = {"ImageId": "ami-0123456789abcdef0"}
DISK = {
    "VolumeSize": 50,
    "VolumeType": "gp3",
    "KmsKeyId": "alias/aws/ebs",
    "Encrypted": True,
    "DeleteOnTermination": True,
}


@pytest.mark.parametrize(
    ("kind", "more", "override"),
    [
        ("m7g.large", "", ARM),
        ("g5g.xlarge", "", ARM),
        ("g5.xlarge", "", {}),
        ("m7g.large", 'image = "ami-0123456789abcdef0"', OWN),
        (
            "m7i.large",
            'image = "ami-0123456789abcdef0"\ndisk_gb = 50\n',
            OWN | {"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": DISK}]},
        ),
    ],
)
def test_the_image_is_of_the_types_processor_or_the_pools_own(
    kind: str, more: str, override: dict[str, Any], cloud: Cloud
) -> None:
    own = pool(POOL.replace('"m7i.large", "m7a.large"', f'"{kind}"') + more)
    wanted = {"InstanceType": kind, "SubnetId": "subnet-1", **override}
    cloud.gives("i-0", timed=True, **templates(ANY, wanted))
    assert cloud.launch(1, of=own).launched


def test_machines_of_a_protected_pool_are_of_a_kind_of_their_own(cloud: Cloud) -> None:
    protected = pool(POOL + "protected_only = true\n")
    template = {"LaunchTemplateId": "lt-2", "Version": "$Latest"}
    cloud.gives("i-0", timed=True, **templates(template))
    (machine,) = cloud.launch(1, of=protected).launched
    assert machine.mailbox == "AROB:i-0"
    assert cloud.backend.mailboxes("i-7") == ("AROA:i-7", "AROB:i-7")
    assert cloud.backend.name == "ec2"


def test_the_second_market_is_asked_for_the_rest_only(cloud: Cloud) -> None:
    cloud.gives("i-0", "i-1", errors=[short(NONE_THERE)])
    rest = {"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"}
    cloud.gives("i-2", ClientToken="l1-on-demand", TargetCapacitySpecification=rest, timed=True)
    result = cloud.launch(3)
    assert [(launched.runner_id, launched.machine_id) for launched in result.launched] == [
        (f"rf-linux-{n}", f"i-{n}") for n in range(3)
    ]


@pytest.mark.parametrize(("runners", "has_places"), [(1, False), (0, True)])
def test_an_order_for_no_runner_or_nowhere_makes_no_call(
    runners: int, has_places: bool, cloud: Cloud
) -> None:
    order = cloud.order(*("rf-linux-0",)[:runners])
    outcome = cloud.backend.launch(pool(), order if has_places else replace(order, try_in=()))
    assert (outcome.launched, outcome.shortfalls) == ((), ())


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (NONE_THERE, ErrorKind.CAPACITY),
        ("MaxSpotInstanceCountExceeded", ErrorKind.QUOTA),
        ("RequestLimitExceeded", ErrorKind.THROTTLE),
        ("InvalidAMIID.NotFound", ErrorKind.CONFIGURATION),
        ("NeverHeardOf", ErrorKind.UNKNOWN),
    ],
)
def test_an_error_in_a_good_answer_says_where_and_why(
    code: str, kind: ErrorKind, cloud: Cloud
) -> None:
    of_all_places = short(code, kind=None)
    cloud.gives(errors=[short(code, message="so it is"), of_all_places])
    cloud.gives("i-0", timed=True)
    result = cloud.launch(1)
    first, second = result.shortfalls
    assert (first.kind, first.code, first.message) == (kind, code, "so it is")
    assert (second.capacity, second.message) == (None, "")
    assert str(first.capacity) == "m7i.large/subnet-1/spot"
    assert machines(result) == ["i-0"]


def test_no_machine_anywhere_needs_no_timer(
    cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud.gives(errors=[short(NONE_THERE)])
    cloud.gives(errors=[short(NONE_THERE, "m7a.large")])
    result = cloud.launch(2)
    assert result.launched == ()
    assert capsys.readouterr().out == "", "no timer was missed"
    assert places(result) == ["m7i.large/subnet-1/spot", "m7a.large/subnet-1/on-demand"]


def test_what_was_launched_before_an_answer_was_lost_is_kept_and_timed(cloud: Cloud) -> None:
    cloud.gives("i-0")
    cloud.ec2.add_client_error("create_fleet", "InternalError", http_status_code=500)
    cloud.takes_timer()
    result = cloud.launch(2)
    assert machines(result) == ["i-0"]
    assert places(result) == ["m7i.large/subnet-1/on-demand", "m7a.large/subnet-1/on-demand"]


def test_machines_of_several_places_are_kept_apart(cloud: Cloud) -> None:
    groups = [
        {
            "LaunchTemplateAndOverrides": {"Overrides": {"SubnetId": subnet}},
            "InstanceType": kind,
            "InstanceIds": ids,
        }
        for subnet, kind, ids in (
            ("subnet-1", "m7i.large", ["i-0", "i-1"]),
            ("subnet-2", "m7a.large", ["i-2"]),
        )
    ]
    cloud.ec2.add_response("create_fleet", {"Instances": groups, "Errors": []})
    cloud.takes_timer()
    assert [
        (launched.machine_id, str(launched.capacity)) for launched in cloud.launch(3).launched
    ] == [
        ("i-0", "m7i.large/subnet-1/spot"),
        ("i-1", "m7i.large/subnet-1/spot"),
        ("i-2", "m7a.large/subnet-2/spot"),
    ]


# For a caller with the right to end any machine, and for one whose right depends on a tag.
forgotten = pytest.mark.parametrize("code", ["InvalidInstanceID.NotFound", "UnauthorizedOperation"])


def ends(cloud: Cloud, *machine_ids: str, code: str | None = None) -> None:
    """The next call is for these; it fails with this code."""
    request = {"InstanceIds": list(machine_ids)}
    if code is None:
        cloud.ec2.add_response("terminate_instances", {}, request)
    else:
        cloud.ec2.add_client_error("terminate_instances", code, expected_params=request)


def shows(cloud: Cloud, *machine_ids: str, **states: str) -> None:
    """EC2 is asked for these, whatever their tags, and shows some of them."""
    shown = [
        {"InstanceId": name.replace("_", "-"), "State": {"Name": state}}
        for name, state in states.items()
    ]
    filters = [{"Name": "instance-id", "Values": list(machine_ids)}]
    answer = {"Reservations": [{"Instances": shown}]}
    request = {"Filters": filters, "MaxResults": 500}
    cloud.ec2.add_response("describe_instances", answer, request)


def test_machines_are_ended_a_hundred_a_call_and_none_is_no_call(cloud: Cloud) -> None:
    ids = [f"i-{n}" for n in range(2 * BATCH + 1)]
    for start in (0, BATCH, 2 * BATCH):
        ends(cloud, *ids[start : start + BATCH])
    cloud.backend.end(ids)
    cloud.backend.end([])


@forgotten
def test_a_machine_that_ec2_forgot_keeps_no_other_alive(code: str, cloud: Cloud) -> None:
    machine_ids = ("i-0", "i-1", "i-2", "i-3")
    ends(cloud, *machine_ids, code=code)
    shows(cloud, *machine_ids, i_0="running", i_2="stopped", i_3="terminated")
    ends(cloud, "i-0", "i-2")
    cloud.backend.end(machine_ids)


@forgotten
@pytest.mark.parametrize("states", [{}, {"i_0": "terminated"}, {"i_0": "shutting-down"}])
def test_a_machine_that_is_unknown_or_terminated_has_ended(
    states: dict[str, str], code: str, cloud: Cloud
) -> None:
    ends(cloud, "i-0", code=code)
    shows(cloud, "i-0", **states)
    cloud.backend.end(["i-0"])


@forgotten
def test_a_machine_that_lives_and_may_not_be_ended_is_an_error(code: str, cloud: Cloud) -> None:
    ends(cloud, "i-0", "i-1", code=code)
    shows(cloud, "i-0", "i-1", i_0="running")
    ends(cloud, "i-0", code=code)
    shows(cloud, "i-0", i_0="running")
    with pytest.raises(Refused, match=rf"ec2\.TerminateInstances, code={code}"):
        cloud.backend.end(["i-0", "i-1"])


@pytest.mark.parametrize(
    ("code", "error"), [("UnauthorizedOperation", Refused), ("RequestLimitExceeded", Transient)]
)
def test_without_an_answer_no_machine_counts_as_ended(
    code: str, error: type[FleetError], cloud: Cloud
) -> None:
    ends(cloud, "i-0", code=code)
    if error is Refused:  # a throttle asks nothing
        cloud.ec2.add_client_error("describe_instances", code)
    with pytest.raises(error, match=rf"ec2\.TerminateInstances, code={code}"):
        cloud.backend.end(["i-0"])


def instance(machine_id: str, state: str, **tags: str) -> dict[str, Any]:
    own_tags = [{"Key": f"runner-fleet:{key}", "Value": value} for key, value in tags.items()]
    return {
        "InstanceId": machine_id,
        "State": {"Name": state},
        "LaunchTime": AT,
        "Tags": own_tags,
    }


def listed(cloud: Cloud, *pages: list[dict[str, Any]], **filters: str) -> None:
    """EC2 lists the stack's instances, page after page."""
    named = {"tag:runner-fleet:stack": "fleet"} | {
        name.replace("_", "-"): value for name, value in filters.items()
    }
    request: dict[str, Any] = {
        "Filters": [{"Name": name, "Values": [value]} for name, value in named.items()],
        "MaxResults": 500,
    }
    for number, page in enumerate(pages, start=1):
        answer_: dict[str, Any] = {"Reservations": [{"Instances": [machine]} for machine in page]}
        more = {"NextToken": "more"}
        answer = answer_ | (more if number < len(pages) else {})
        cloud.ec2.add_response("describe_instances", answer, request | (more if number > 1 else {}))


def test_machines_are_seen_on_all_pages_with_what_they_are_tagged(cloud: Cloud) -> None:
    first = instance("i-0", "running", launch="l1", pool="linux", stack="fleet")
    listed(
        cloud,
        [first, instance("i-1", "pending", launch="l2", pool="big")],
        [instance("i-2", "terminated")],
    )
    assert cloud.backend.machines() == (
        Machine(machine_id="i-0", alive=True, launched_at=AT, launch_id="l1", pool="linux"),
        Machine(machine_id="i-1", alive=True, launched_at=AT, launch_id="l2", pool="big"),
        Machine(
            machine_id="i-2", alive=False, launched_at=AT, launch_id=None, pool=None, ended=True
        ),
    )


def test_a_machine_that_ends_is_not_alive(cloud: Cloud) -> None:
    states = ["shutting-down", "stopping", "stopped", "terminated"]
    listed(cloud, [instance(f"i-{state}", state) for state in states])
    assert {machine.alive for machine in cloud.backend.machines()} == {False}


@pytest.mark.parametrize(
    ("expires", "expected"),
    [
        ("2026-08-20T10:00:00+00:00", datetime(2026, 8, 20, 10, tzinfo=UTC)),
        ("2026-08-20T10:00:00", None),
        ("soon", None),
    ],
)
def test_a_machine_alone_is_asked_for_by_a_filter(
    expires: str, expected: datetime | None, cloud: Cloud
) -> None:
    """EC2 refuses the call for an id that it does not know."""
    shown = instance("i-1", "running", launch="l1", pool="linux", expires=expires)
    listed(cloud, [shown], instance_id="i-1")
    listed(cloud, [], instance_id="i-1")
    machine = cloud.backend.machine("i-1")
    assert machine is not None
    assert (machine.machine_id, machine.alive, machine.expires_at) == ("i-1", True, expected)
    assert cloud.backend.machine("i-1") is None


def test_machines_that_cannot_be_seen_are_not_gone(cloud: Cloud) -> None:
    cloud.ec2.add_client_error("describe_instances", "RequestLimitExceeded")
    with pytest.raises(Transient, match=r"ec2\.DescribeInstances"):
        cloud.backend.machines()
