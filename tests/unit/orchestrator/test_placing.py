"""From launched machines to runners: none is lost on the way."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest

from adapters.ledger.fleet import FleetRows
from adapters.ledger.runners import RunnerRows
from adapters.machines.backend import LaunchOrder, LaunchResult, Shortfall
from fleet.aws_errors import ErrorKind
from fleet.config.model import PoolConfig
from fleet.errors import Refused, Transient
from fleet.reasons import Reason
from fleet.rules.capacity import BackOff, CapacityPool
from tests.fakes import FakeBackend, runner_rows
from tests.unit.orchestrator.scene import INSTANCE, Scene, logged

DRY, QUOTA = (
    Shortfall(kind=kind, code=code, capacity=None, message="sorry")
    for kind, code in (
        (ErrorKind.CAPACITY, "InsufficientInstanceCapacity"),
        (ErrorKind.QUOTA, "VcpuLimitExceeded"),
    )
)


@dataclass(slots=True, kw_only=True)
class SlowBackend(FakeBackend):
    """A back end that answers when another function has closed the first runner already."""

    runners: RunnerRows
    end_fails: bool = False

    def launch(self, pool: PoolConfig, order: LaunchOrder) -> LaunchResult:
        gone = self.runners.find(order.runner_ids[0])
        assert gone is not None
        self.runners.close(gone, Reason.LAUNCH_FAILED, at=self.clock())
        result = FakeBackend.launch(self, pool, order)
        if self.end_fails:
            self.failing = Refused("not yours")
        return result


class DryBackend(FakeBackend):
    """A back end that has nothing in any place, and says so of each."""

    def launch(self, pool: PoolConfig, order: LaunchOrder) -> LaunchResult:
        none = [replace(self.short, capacity=place) for place in order.try_in]
        return LaunchResult(launched=(), shortfalls=tuple(none))


@dataclass(slots=True, kw_only=True)
class ScarceBackend(FakeBackend):
    """A back end that says of both markets why it gave too few, if it did."""

    shortfalls: tuple[Shortfall, ...] = ()

    def launch(self, pool: PoolConfig, order: LaunchOrder) -> LaunchResult:
        return replace(FakeBackend.launch(self, pool, order), shortfalls=self.shortfalls)


class ForgetfulRows(FleetRows):
    """Rows that do not take what a launch taught."""

    def note_back_off(self, name: str, back_off: Mapping[str, BackOff]) -> None:
        raise Transient(call="dynamodb.UpdateItem")


def late(*, end_fails: bool = False) -> Scene:
    """Three jobs wait, and the machines come late."""
    scene = Scene()
    scene.waits(1, 2, 3)
    scene.backend = SlowBackend(
        clock=scene.clock, runners=runner_rows(scene.table, INSTANCE), end_fails=end_fails
    )
    scene.world = replace(scene.world, backends={"tests": scene.backend})
    return scene


def test_a_machine_whose_row_is_gone_is_ended_and_the_others_serve(
    capsys: pytest.CaptureFixture[str],
) -> None:
    scene = late()
    done = scene.scale()
    assert (done.launched, done.again_in_s) == (2, 1)
    assert [runner.equipped for runner in scene.runners] == [True, True]
    (order,) = scene.backend.orders
    assert scene.backend.ended == [f"m-{order.runner_ids[0]}"]
    assert {runner.id for runner in scene.runners} == set(order.runner_ids[1:])
    (line,) = logged(capsys, "MachinesUnplaced")
    assert (line["pool"], line["machines"]) == ("docker", 1)
    scene.books_balance()


def test_a_machine_that_cannot_be_ended_holds_up_no_other() -> None:
    scene = late(end_fails=True)
    assert scene.scale().launched == 2
    assert [runner.equipped for runner in scene.runners] == [True, True]


def test_machines_are_equipped_before_the_launch_is_remembered() -> None:
    scene = Scene()
    scene.backend.room = 1
    scene.waits(1, 2)
    scene.world = replace(scene.world, fleet=ForgetfulRows(scene.table))
    with pytest.raises(Transient):
        scene.scale()
    assert [runner.equipped for runner in scene.runners if runner.machine_id] == [True]


def test_many_places_with_one_trouble_are_one_line_of_the_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    scene = Scene()
    scene.waits(1)
    places = tuple(
        CapacityPool(instance_type="m7i.large", subnet=f"subnet-{n}", market="spot")
        for n in range(3)
    )
    scene.backend = DryBackend(clock=scene.clock, places=places)
    scene.world = replace(scene.world, backends={"tests": scene.backend})
    scene.scale()
    (line,) = logged(capsys, "LaunchShort")
    assert (line["missing"], line["other_codes"]) == (1, [])
    held = scene.world.fleet.pool("docker").back_off or {}
    assert set(held) == {str(place) for place in places}


@pytest.mark.parametrize(
    ("shortfalls", "room", "expected"),
    [
        ((DRY, QUOTA), 1, [(2, "VcpuLimitExceeded", ["InsufficientInstanceCapacity"])]),
        ((DRY,), 3, []),  # spot had none, on-demand had all
        ((), 2, [(1, "NoCode", [])]),
    ],
    ids=["two codes", "none is missing", "no code"],
)
def test_each_machine_that_did_not_come_is_counted_once(
    shortfalls: tuple[Shortfall, ...],
    room: int,
    expected: list[object],
    capsys: pytest.CaptureFixture[str],
) -> None:
    scene = Scene()
    scene.waits(1, 2, 3)
    scene.backend = ScarceBackend(clock=scene.clock, room=room, shortfalls=shortfalls)
    scene.world = replace(scene.world, backends={"tests": scene.backend})
    scene.scale()
    lines = logged(capsys, "LaunchShort")
    assert [(line["missing"], line["code"], line["other_codes"]) for line in lines] == expected
