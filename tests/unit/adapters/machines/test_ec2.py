"""What is asked of EC2, and what is made of its answers."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.stub import ANY

from adapters.machines.backend import Machine
from adapters.machines.ec2 import BATCH
from fleet.config.reading import PoolConfig
from fleet.errors import Refused, Transient
from fleet.rules.capacity import ErrorKind
from tests.fakes import AT
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


def names(count: int) -> tuple[str, ...]:
    return tuple(f"rf-linux-{n}" for n in range(count))


def short(code: str, kind: str | None = "m7i.large", message: str = "") -> dict[str, Any]:
    """One of the errors in CreateFleet's answer."""
    where = {"InstanceType": kind, "SubnetId": "subnet-1"} if kind else {}
    told = {"LaunchTemplateAndOverrides": {"Overrides": where}, "ErrorCode": code}
    return told | ({"ErrorMessage": message} if message else {})


class TestAsking:
    """One call for many machines, which are found again whatever happens next."""

    def test_an_instant_fleet_of_one_market(self, cloud: Cloud) -> None:
        template = {"LaunchTemplateId": "lt-1", "Version": "$Latest"}
        overrides = [
            {"InstanceType": kind, "SubnetId": "subnet-1"} for kind in ("m7i.large", "m7a.large")
        ]
        tags = {
            "runner-fleet:stack": "fleet",
            "runner-fleet:pool": "linux",
            "runner-fleet:executor": "docker",
            "runner-fleet:launch": "l1",
            "runner-fleet:expires": AT.isoformat(),
            "Name": "fleet-linux",
        }
        cloud.gives(
            "i-0",
            "i-1",
            "i-2",
            Type="instant",
            ClientToken="l1-spot",
            LaunchTemplateConfigs=[
                {"LaunchTemplateSpecification": template, "Overrides": overrides}
            ],
            TargetCapacitySpecification={
                "TotalTargetCapacity": 3,
                "DefaultTargetCapacityType": "spot",
            },
            SpotOptions={"AllocationStrategy": "price-capacity-optimized"},
            OnDemandOptions={"AllocationStrategy": "lowest-price"},
            TagSpecifications=[
                {
                    "ResourceType": "instance",
                    "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
                }
            ],
        )
        cloud.takes_timer()
        came = cloud.backend.launch(pool(), cloud.order(*names(3)))
        assert [one.runner_id for one in came.launched] == list(names(3))
        assert came.shortfalls == ()

    def test_a_pool_s_own_image_and_disk(self, cloud: Cloud) -> None:
        own = pool(POOL + 'image = "ami-0123456789abcdef0"\ndisk_gb = 50\n')
        disk = {
            "VolumeSize": 50,
            "VolumeType": "gp3",
            "KmsKeyId": "alias/aws/ebs",
            "Encrypted": True,
            "DeleteOnTermination": True,
        }
        overrides = [
            {
                "InstanceType": kind,
                "SubnetId": "subnet-1",
                "ImageId": "ami-0123456789abcdef0",
                "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": disk}],
            }
            for kind in ("m7i.large", "m7a.large")
        ]
        configs = [{"LaunchTemplateSpecification": ANY, "Overrides": overrides}]
        cloud.gives("i-0", LaunchTemplateConfigs=configs)
        cloud.takes_timer()
        assert cloud.backend.launch(own, cloud.order(*names(1))).launched

    @pytest.mark.parametrize(
        ("kind", "more", "image"),
        [
            ("m7g.large", "", {"ImageId": "resolve:ssm:/aws/service/arm64"}),
            ("g5g.xlarge", "", {"ImageId": "resolve:ssm:/aws/service/arm64"}),
            ("g5.xlarge", "", {}),
            ("m7g.large", 'image = "ami-0123456789abcdef0"', {"ImageId": "ami-0123456789abcdef0"}),
        ],
    )
    def test_the_image_is_of_the_types_processor(
        self, kind: str, more: str, image: dict[str, str], cloud: Cloud
    ) -> None:
        own = pool(POOL.replace('"m7i.large", "m7a.large"', f'"{kind}"') + more)
        overrides = [{"InstanceType": kind, "SubnetId": "subnet-1", **image}]
        configs = [{"LaunchTemplateSpecification": ANY, "Overrides": overrides}]
        cloud.gives("i-0", LaunchTemplateConfigs=configs)
        cloud.takes_timer()
        places = cloud.backend.capacity_pools(own)
        order = replace(cloud.order(*names(1)), try_in=places)
        assert cloud.backend.launch(own, order).launched

    def test_the_second_market_is_asked_for_the_rest_only(self, cloud: Cloud) -> None:
        cloud.gives("i-0", "i-1", errors=[short("InsufficientInstanceCapacity")])
        rest = {"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"}
        cloud.gives("i-2", ClientToken="l1-on-demand", TargetCapacitySpecification=rest)
        cloud.takes_timer()
        came = cloud.backend.launch(pool(), cloud.order(*names(3)))
        assert [(one.runner_id, one.machine_id) for one in came.launched] == [
            ("rf-linux-0", "i-0"),
            ("rf-linux-1", "i-1"),
            ("rf-linux-2", "i-2"),
        ]


@pytest.mark.parametrize(("runners", "has_places"), [(1, False), (0, True)])
def test_an_order_for_nobody_or_nowhere_makes_no_call(
    runners: int, has_places: bool, cloud: Cloud
) -> None:
    order = cloud.order(*names(runners))
    outcome = cloud.backend.launch(pool(), order if has_places else replace(order, try_in=()))
    assert (outcome.launched, outcome.shortfalls) == ((), ())


class TestPartly:
    """Less than asked for is normal; each shortfall says where and why."""

    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            ("InsufficientInstanceCapacity", ErrorKind.CAPACITY),
            ("MaxSpotInstanceCountExceeded", ErrorKind.QUOTA),
            ("VcpuLimitExceeded", ErrorKind.QUOTA),
            ("RequestLimitExceeded", ErrorKind.THROTTLE),
            ("InvalidAMIID.NotFound", ErrorKind.CONFIGURATION),
            ("NeverHeardOf", ErrorKind.UNKNOWN),
        ],
    )
    def test_an_error_in_a_good_answer(self, code: str, kind: ErrorKind, cloud: Cloud) -> None:
        cloud.gives(errors=[short(code, message="so it is")])
        cloud.gives("i-0")
        cloud.takes_timer()
        came = cloud.backend.launch(pool(), cloud.order(*names(1)))
        (told,) = came.shortfalls
        assert (told.kind, told.code, told.message) == (kind, code, "so it is")
        assert str(told.capacity) == "m7i.large/subnet-1/spot"
        assert [one.machine_id for one in came.launched] == ["i-0"]

    def test_an_error_of_no_place_is_of_all_of_them(self, cloud: Cloud) -> None:
        cloud.gives(errors=[short("UnfulfillableCapacity", kind=None)])
        cloud.gives("i-0")
        cloud.takes_timer()
        came = cloud.backend.launch(pool(), cloud.order(*names(1)))
        assert [(one.capacity, one.message) for one in came.shortfalls] == [(None, "")]

    def test_nothing_anywhere_needs_no_timer(
        self, cloud: Cloud, capsys: pytest.CaptureFixture[str]
    ) -> None:
        cloud.gives(errors=[short("InsufficientInstanceCapacity")])
        cloud.gives(errors=[short("InsufficientInstanceCapacity", "m7a.large")])
        came = cloud.backend.launch(pool(), cloud.order(*names(2)))
        assert came.launched == ()
        assert capsys.readouterr().out == "", "no timer was missed"
        assert [str(one.capacity) for one in came.shortfalls] == [
            "m7i.large/subnet-1/spot",
            "m7a.large/subnet-1/on-demand",
        ]

    def test_what_came_before_an_answer_was_lost_is_kept_and_timed(self, cloud: Cloud) -> None:
        cloud.gives("i-0")
        cloud.ec2.add_client_error("create_fleet", "InternalError", http_status_code=500)
        cloud.takes_timer()
        came = cloud.backend.launch(pool(), cloud.order(*names(2)))
        assert [one.machine_id for one in came.launched] == ["i-0"]
        assert {str(one.capacity) for one in came.shortfalls} == {
            "m7i.large/subnet-1/on-demand",
            "m7a.large/subnet-1/on-demand",
        }

    def test_machines_of_several_places_are_told_apart(self, cloud: Cloud) -> None:
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
        came = cloud.backend.launch(pool(), cloud.order(*names(3)))
        assert [(one.machine_id, str(one.capacity)) for one in came.launched] == [
            ("i-0", "m7i.large/subnet-1/spot"),
            ("i-1", "m7i.large/subnet-1/spot"),
            ("i-2", "m7a.large/subnet-2/spot"),
        ]


# For a caller with the right to end any machine, and for one whose right depends on a tag.
FORGOTTEN = ("InvalidInstanceID.NotFound", "UnauthorizedOperation")


class TestEnd:
    """Machines end, those that EC2 has forgotten included."""

    def ends(self, cloud: Cloud, *machine_ids: str, code: str | None = None) -> None:
        """The next call is for these; it fails with this code."""
        asked = {"InstanceIds": list(machine_ids)}
        if code is None:
            cloud.ec2.add_response("terminate_instances", {}, asked)
        else:
            cloud.ec2.add_client_error("terminate_instances", code, expected_params=asked)

    def test_a_hundred_a_call(self, cloud: Cloud) -> None:
        ids = [f"i-{n}" for n in range(2 * BATCH + 1)]
        for start in (0, BATCH, 2 * BATCH):
            self.ends(cloud, *ids[start : start + BATCH])
        cloud.backend.end(ids)

    def test_none_is_no_call(self, cloud: Cloud) -> None:
        cloud.backend.end([])

    def shows(self, cloud: Cloud, *machine_ids: str, **states: str) -> None:
        """EC2 is asked for these, whatever their tags, and shows some of them."""
        told = [
            {"InstanceId": name.replace("_", "-"), "State": {"Name": state}}
            for name, state in states.items()
        ]
        asked = {
            "Filters": [{"Name": "instance-id", "Values": list(machine_ids)}],
            "MaxResults": 500,
        }
        answer = {"Reservations": [{"Instances": told}]}
        cloud.ec2.add_response("describe_instances", answer, asked)

    @pytest.mark.parametrize("code", FORGOTTEN)
    def test_one_that_ec2_forgot_keeps_no_other_alive(self, code: str, cloud: Cloud) -> None:
        asked = ("i-0", "i-1", "i-2", "i-3")
        self.ends(cloud, *asked, code=code)
        self.shows(cloud, *asked, i_0="running", i_2="stopped", i_3="terminated")
        self.ends(cloud, "i-0", "i-2")
        cloud.backend.end(asked)

    @pytest.mark.parametrize("code", FORGOTTEN)
    @pytest.mark.parametrize("states", [{}, {"i_0": "terminated"}, {"i_0": "shutting-down"}])
    def test_one_that_is_unknown_or_terminated_has_ended(
        self, states: dict[str, str], code: str, cloud: Cloud
    ) -> None:
        self.ends(cloud, "i-0", code=code)
        self.shows(cloud, "i-0", **states)
        cloud.backend.end(["i-0"])

    @pytest.mark.parametrize("code", FORGOTTEN)
    def test_one_that_lives_and_may_not_be_ended_is_told(self, code: str, cloud: Cloud) -> None:
        self.ends(cloud, "i-0", "i-1", code=code)
        self.shows(cloud, "i-0", "i-1", i_0="running")
        self.ends(cloud, "i-0", code=code)
        self.shows(cloud, "i-0", i_0="running")
        with pytest.raises(Refused, match=rf"ec2\.TerminateInstances, code={code}"):
            cloud.backend.end(["i-0", "i-1"])

    def test_without_the_right_to_ask_no_machine_counts_as_ended(self, cloud: Cloud) -> None:
        self.ends(cloud, "i-0", code="UnauthorizedOperation")
        cloud.ec2.add_client_error("describe_instances", "UnauthorizedOperation")
        with pytest.raises(Refused, match=r"ec2\.TerminateInstances"):
            cloud.backend.end(["i-0"])

    def test_a_throttle_asks_nothing(self, cloud: Cloud) -> None:
        self.ends(cloud, "i-0", "i-1", code="RequestLimitExceeded")
        with pytest.raises(Transient, match=r"ec2\.TerminateInstances, code=RequestLimitExceeded"):
            cloud.backend.end(["i-0", "i-1"])


class TestMachines:
    """What EC2 shows of the stack's machines."""

    def shows(self, cloud: Cloud, *instances: dict[str, Any], following: bool = False) -> None:
        told: dict[str, Any] = {"Reservations": [{"Instances": [one]} for one in instances]}
        asked: dict[str, Any] = {
            "Filters": [{"Name": "tag:runner-fleet:stack", "Values": ["fleet"]}],
            "MaxResults": 500,
        }
        if following:
            asked["NextToken"] = "more"
        else:
            told["NextToken"] = "more"
        cloud.ec2.add_response("describe_instances", told, asked)

    def instance(self, machine_id: str, state: str, **tags: str) -> dict[str, Any]:
        told = [{"Key": f"runner-fleet:{key}", "Value": value} for key, value in tags.items()]
        return {
            "InstanceId": machine_id,
            "State": {"Name": state},
            "LaunchTime": AT,
            "Tags": told,
        }

    def test_on_all_pages_with_what_they_are_tagged(self, cloud: Cloud) -> None:
        self.shows(
            cloud,
            self.instance("i-0", "running", launch="l1", pool="linux", stack="fleet"),
            self.instance("i-1", "pending", launch="l2", pool="big"),
        )
        self.shows(cloud, self.instance("i-2", "terminated"), following=True)
        assert cloud.backend.machines() == (
            Machine(machine_id="i-0", alive=True, launched_at=AT, launch_id="l1", pool="linux"),
            Machine(machine_id="i-1", alive=True, launched_at=AT, launch_id="l2", pool="big"),
            Machine(
                machine_id="i-2", alive=False, launched_at=AT, launch_id=None, pool=None, ended=True
            ),
        )

    @pytest.mark.parametrize("state", ["shutting-down", "stopping", "stopped", "terminated"])
    def test_one_that_ends_is_not_alive(self, state: str, cloud: Cloud) -> None:
        self.shows(cloud)
        self.shows(cloud, self.instance("i-0", state), following=True)
        (machine,) = cloud.backend.machines()
        assert not machine.alive

    @pytest.mark.parametrize(
        ("expires", "expected"),
        [
            ("2026-08-20T10:00:00+00:00", datetime(2026, 8, 20, 10, tzinfo=UTC)),
            ("2026-08-20T10:00:00", None),
            ("soon", None),
        ],
    )
    def test_one_alone_is_asked_for_by_a_filter(
        self, expires: str, expected: datetime | None, cloud: Cloud
    ) -> None:
        """EC2 refuses the call for an id that it does not know."""
        shown = self.instance("i-1", "running", launch="l1", pool="linux", expires=expires)
        asked = {
            "Filters": [
                {"Name": "tag:runner-fleet:stack", "Values": ["fleet"]},
                {"Name": "instance-id", "Values": ["i-1"]},
            ],
            "MaxResults": 500,
        }
        for told in ([{"Instances": [shown]}], []):
            cloud.ec2.add_response("describe_instances", {"Reservations": told}, asked)
        machine = cloud.backend.machine("i-1")
        assert machine is not None
        assert (machine.machine_id, machine.alive, machine.expires_at) == ("i-1", True, expected)
        assert cloud.backend.machine("i-1") is None

    def test_that_cannot_be_seen_are_not_gone(self, cloud: Cloud) -> None:
        cloud.ec2.add_client_error("describe_instances", "RequestLimitExceeded")
        with pytest.raises(Transient, match=r"ec2\.DescribeInstances"):
            cloud.backend.machines()


def test_machines_of_a_protected_pool_are_of_a_kind_of_their_own(cloud: Cloud) -> None:
    template = {"LaunchTemplateId": "lt-2", "Version": "$Latest"}
    configs = [{"LaunchTemplateSpecification": template, "Overrides": ANY}]
    cloud.gives("i-0", LaunchTemplateConfigs=configs)
    cloud.takes_timer()
    protected = pool(POOL + "protected_only = true\n")
    (one,) = cloud.backend.launch(protected, cloud.order("rf-linux-1")).launched
    assert one.mailbox == "AROB:i-0"


def test_a_machine_s_mailbox_is_its_own_user_id(cloud: Cloud) -> None:
    assert cloud.backend.mailboxes("i-7") == ("AROA:i-7", "AROB:i-7")
    assert cloud.backend.name == "ec2"
