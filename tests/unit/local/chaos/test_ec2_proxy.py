"""The proxy's decisions, with an engine that writes down what reaches it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

import boto3
import pytest

from local.chaos.ec2_memory import NAMESPACE
from local.chaos.ec2_proxy import Ec2Proxy, HttpAnswer, ProxyCalls
from local.chaos.fleet_call import Disruption, FleetCall, Override
from local.chaos.query import Fields, read_fields, write_fields
from local.loopback import Answerer, LoopbackServer

HEADERS = [("Host", "ec2.signed"), ("Authorization", "signed"), ("Connection", "keep-alive")]
LAUNCH: Fields = {
    "Action": "CreateFleet",
    "TargetCapacitySpecification.TotalTargetCapacity": "3",
    "LaunchTemplateConfigs.1.Overrides.1.InstanceType": "m6i.large",
    "LaunchTemplateConfigs.1.Overrides.1.SubnetId": "subnet-a",
    "LaunchTemplateConfigs.1.Overrides.2.InstanceType": "m6i.large",
    "LaunchTemplateConfigs.1.Overrides.2.SubnetId": "subnet-b",
}
DRY = "InsufficientInstanceCapacity"
PLACE_A = Override(instance_type="m6i.large", subnet="subnet-a")
PLACE_B = Override(instance_type="m6i.large", subnet="subnet-b")


@dataclass
class Engine:
    """What reached it, and what it answers."""

    status: int = 200
    body: bytes = b"<R><fleetInstanceSet>i-1</fleetInstanceSet><errorSet/></R>"
    requests: list[tuple[dict[str, str], Fields]] = field(default_factory=list)


class _Engine(Answerer):
    engine: Engine

    def do_POST(self) -> None:  # noqa: N802  the name http.server asks for
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.engine.requests.append((headers, read_fields(body)))
        self.answer(self.engine.status, self.engine.body, "text/xml")


@dataclass
class Scene:
    """A proxy and the engine behind it."""

    proxy: Ec2Proxy
    engine: Engine

    def ask(self, fields: Fields) -> HttpAnswer:
        return self.proxy.serve(HEADERS, write_fields(fields))


@pytest.fixture
def scene() -> Iterator[Scene]:
    engine = Engine()
    with LoopbackServer(type("BoundEngine", (_Engine,), {"engine": engine})) as server:
        proxy = Ec2Proxy(lambda: {1: "rf-1"})
        keys = boto3.Session(aws_access_key_id="AK", aws_secret_access_key="SK")
        proxy.forward_to(server.url, keys)
        with proxy:
            yield Scene(proxy, engine)


def codes(answer: HttpAnswer) -> list[str | None]:
    """The error codes in an answer of EC2, in order."""
    tags = (
        (element.tag.rpartition("}")[2], element.text)
        for element in ET.fromstring(answer.body).iter()
    )
    return [text for tag, text in tags if tag in ("errorCode", "Code")]


def test_without_a_fault_a_call_passes_unchanged(scene: Scene) -> None:
    answer = scene.ask(LAUNCH)
    assert (answer.status, answer.body) == (200, scene.engine.body)
    ((headers, fields),) = scene.engine.requests
    assert fields == LAUNCH
    assert (headers["host"], headers["authorization"]) == ("ec2.signed", "signed")
    assert "connection" not in headers
    assert ("Content-Type", "text/xml") in answer.headers
    assert not any(name.lower() == "content-length" for name, _ in answer.headers)


def test_launches_are_counted_and_those_that_were_changed(scene: Scene) -> None:
    verdicts = iter([None, Disruption(refuse="RequestLimitExceeded"), None])
    scene.proxy.fault = lambda _call: next(verdicts)
    for _ in range(3):
        scene.ask(LAUNCH)
    scene.ask({"Action": "DescribeInstances"})
    assert scene.proxy.take_calls() == ProxyCalls(launches=3, spoiled=1)
    assert scene.proxy.take_calls() == ProxyCalls()


@pytest.mark.parametrize(
    ("verdict", "status", "expected"),
    [
        (Disruption(refuse="RequestLimitExceeded"), 503, ["RequestLimitExceeded"]),
        (Disruption(refuse="Unavailable"), 503, ["Unavailable"]),
        (Disruption(refuse="VcpuLimitExceeded"), 400, ["VcpuLimitExceeded"]),
        (Disruption(refuse="UnauthorizedOperation"), 403, ["UnauthorizedOperation"]),
        (Disruption(most=0), 200, [DRY, DRY]),
        (Disruption(dry=dict.fromkeys((PLACE_A, PLACE_B), DRY)), 200, [DRY, DRY]),
    ],
)
def test_a_launch_without_a_place_never_reaches_the_engine(
    scene: Scene, verdict: Disruption, status: int, expected: list[str]
) -> None:
    scene.proxy.fault = lambda _call: verdict
    answer = scene.ask(LAUNCH)
    assert (answer.status, codes(answer)) == (status, expected)
    assert scene.engine.requests == []


def test_what_is_left_is_asked_for_as_the_account_itself(scene: Scene) -> None:
    calls: list[FleetCall] = []

    def fault(call: FleetCall) -> Disruption:
        calls.append(call)
        return Disruption(dry={PLACE_A: "UnfulfillableCapacity"}, most=2)

    scene.proxy.fault = fault
    answer = scene.ask(LAUNCH)
    assert (calls[0].count, calls[0].overrides) == (3, (PLACE_A, PLACE_B))
    ((headers, fields),) = scene.engine.requests
    assert fields["TargetCapacitySpecification.TotalTargetCapacity"] == "2"
    assert fields["LaunchTemplateConfigs.1.Overrides.1.SubnetId"] == "subnet-b"
    assert "LaunchTemplateConfigs.1.Overrides.2.SubnetId" not in fields
    assert "Credential=AK/" in headers["authorization"]
    assert b"i-1" in answer.body
    assert codes(answer) == ["UnfulfillableCapacity", DRY]


def test_with_enough_machines_no_place_is_blamed(scene: Scene) -> None:
    scene.proxy.fault = lambda _call: Disruption(most=3)
    answer = scene.ask(LAUNCH)
    assert (b"i-1" in answer.body, codes(answer)) == (True, [])


def test_an_error_of_the_engine_is_passed_on_unchanged(scene: Scene) -> None:
    scene.engine.status, scene.engine.body = 400, b"<errorSet/>"
    scene.proxy.fault = lambda _call: Disruption(most=1)
    answer = scene.ask(LAUNCH)
    assert (answer.status, answer.body) == (400, b"<errorSet/>")


def test_terminations_are_recorded_with_the_runners_at_work(scene: Scene) -> None:
    fields = {"Action": "TerminateInstances", "InstanceId.1": "i-1", "InstanceId.2": "i-2"}
    assert scene.ask({**fields, "DryRun": "false"}).status == 200
    record = scene.proxy.take_calls()
    (termination,), launches = record.terminations, record.launches
    assert (termination.machine_ids, termination.at_work, launches) == (
        ("i-1", "i-2"),
        {1: "rf-1"},
        0,
    )
    assert len(scene.engine.requests) == 1


SHOWN = (
    f'<DescribeInstancesResponse xmlns="{NAMESPACE}"><reservationSet><item><instancesSet>'
    "<item><instanceId>i-1</instanceId><instanceState><name>terminated</name></instanceState></item>"
    "<item><instanceId>i-2</instanceId><instanceState><name>running</name></instanceState></item>"
    "</instancesSet></item></reservationSet></DescribeInstancesResponse>"
)


def test_a_machine_that_ended_is_forgotten_after_a_time() -> None:
    engine, at = Engine(), [0.0]
    engine.body = SHOWN.encode()
    with (
        LoopbackServer(type("BoundEngine", (_Engine,), {"engine": engine})) as server,
        Ec2Proxy(forgets_after_s=60, clock=lambda: at[0]) as proxy,
    ):
        proxy.forward_to(server.url, boto3.Session())
        scene = Scene(proxy, engine)
        look = {"Action": "DescribeInstances"}
        both = {"Action": "TerminateInstances", "InstanceId.1": "i-2", "InstanceId.2": "i-1"}
        assert b"i-1" in scene.ask(look).body, "first seen ended"
        at[0] = 59
        assert scene.ask(both).status == 200
        at[0] = 60
        answer = scene.ask(both)
        assert (answer.status, codes(answer)) == (403, ["UnauthorizedOperation"])
        assert len(scene.proxy.take_calls().terminations) == 1, "neither is ended"
        shown = scene.ask(look).body
        assert b"i-2" in shown
        assert b"i-1" not in shown
        assert scene.ask({"Action": "TerminateInstances", "InstanceId.1": "i-2"}).status == 200


def test_an_engine_that_is_away_is_an_unavailable_service_and_an_unknown_one_an_error() -> None:
    look = write_fields({"Action": "DescribeInstances"})
    with Ec2Proxy() as proxy:
        with pytest.raises(RuntimeError, match="does not know its engine"):
            proxy.serve(HEADERS, look)
        proxy.forward_to("http://127.0.0.1:9", boto3.Session())
        answer = proxy.serve(HEADERS, look)
    assert (answer.status, codes(answer)) == (503, ["ServiceUnavailable"])
