"""The sweep: what should not live is ended, on two signals; what should is left alone."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from adapters.gitlab.values import NewRunner
from adapters.ledger.controls import Act
from adapters.ledger.mailbox_rows import MailboxRows
from adapters.ledger.runners import LiveRunners, RunnerRows
from adapters.machines.backend import Machine
from fleet.errors import Transient
from fleet.machine.mailbox import MachineState
from fleet.model import Runner
from fleet.reasons import Reason
from fleet.rules.controls import Control, ControlKind
from fleet.steps import StepName
from orchestrator.sweep import SweepResult, close_launch, end_launch
from tests.fakes import FakeCipher
from tests.unit.orchestrator.scene import AT, FLEET, INSTANCE, STACK, Scene

BOOT_S = 301
STALLED_S = 301
STRAY = "rf-docker-0123456789ab"


def test_nothing_is_done_to_what_is_well() -> None:
    scene = Scene()
    runner = scene.runs(1)
    (booting,) = scene.launched(2)
    scene.clock.go(60)
    scene.reports(runner, MachineState.BUSY, job_id=1)
    done = scene.sweep()
    assert (done.runners, done.closed, done.strays) == (2, 0, 0)
    assert {live.id for live in scene.runners} == {runner.id, booting.id}
    assert len(scene.gitlab.records) == 2


def test_the_boot_deadline_leads_to_another_attempt_and_then_to_the_dead_letters() -> None:
    scene = Scene()
    scene.launched(1)
    scene.clock.go(BOOT_S)
    assert scene.sweep().closed == 1
    assert (scene.job(1).attempt, scene.job(1).given_up) == (2, False)
    assert [demand.attempt for demand in scene.queue.demands] == [2]
    assert scene.gitlab.records == {}
    assert scene.scale().launched == 1
    scene.clock.go(BOOT_S)
    scene.sweep()
    assert scene.job(1).given_up
    assert [demand.attempt for demand in scene.queue.buried] == [3]
    assert scene.queue.depth() == 0
    assert scene.steps(1)[-1] == "given_up"
    assert scene.scale().launched == 0
    scene.books_balance()


def test_a_silent_machine_is_ended_when_gitlab_says_that_nothing_runs_there() -> None:
    scene = Scene(text=FLEET + "infra_retry = true\n")
    runner = scene.runs(1)
    scene.clock.go(60)
    assert scene.sweep().closed == 0  # its silence begins when it is noticed
    scene.clock.go(STALLED_S)
    assert scene.sweep().closed == 0  # GitLab says that it runs
    scene.gitlab.failing["job"] = Transient(status=500)
    assert scene.sweep().closed == 0  # GitLab says nothing
    scene.gitlab.failing.clear()
    scene.gitlab.change(1, status="failed")
    assert scene.sweep().closed == 1
    assert scene.backend.ended == [runner.machine_id]


def test_a_machine_that_the_cloud_never_showed_is_given_time() -> None:
    scene = Scene()
    (runner,) = scene.launched(1)
    scene.backend.shown.clear()
    assert scene.sweep().closed == 0
    scene.clock.go(121)
    assert scene.sweep().closed == 1
    assert scene.row(1).steps[-1].reason == Reason.MACHINE_GONE
    assert scene.world.runners.find(runner.id) is None


def test_nothing_outlives_its_expiry() -> None:
    scene = Scene()
    runner = scene.runs(1)
    scene.clock.at = runner.expires_at
    scene.reports(runner, MachineState.BUSY, job_id=1)
    assert scene.sweep().closed == 1
    scene.books_balance()


def test_the_timer_outside_ends_a_whole_launch_and_nothing_else() -> None:
    scene = Scene()
    first, second = scene.launched(1, 2)
    (other,) = scene.launched(3)
    scene.table.items.pop((f"pool#{second.pool}", f"runner#{second.id}"))  # a row was lost
    scene.clock.at = first.expires_at
    assert end_launch(scene.world.backends.values(), first.launch_id, at=scene.clock()) == 2
    assert close_launch(scene.world, first.launch_id) == 1
    assert {first.machine_id, second.machine_id} == set(scene.backend.ended)
    assert [runner.id for runner in scene.runners] == [other.id]
    assert end_launch(scene.world.backends.values(), first.launch_id, at=scene.clock()) == 0
    assert close_launch(scene.world, first.launch_id) == 0


@pytest.mark.parametrize("busy", [False, True])
def test_a_machine_without_a_row_is_ended_unless_it_works(busy: bool) -> None:
    scene = Scene()
    (runner,) = scene.launched(1)
    scene.table.items.pop((f"pool#{runner.pool}", f"runner#{runner.id}"))
    assert scene.sweep().strays == 0  # its row may be on the way
    scene.clock.go(121)
    if busy:
        scene.reports(runner, MachineState.BUSY, job_id=1)
    scene.sweep()
    assert (scene.backend.ended == [runner.machine_id]) is not busy


def test_a_stray_that_stopped_reporting_is_ended_after_all() -> None:
    scene = Scene()
    (runner,) = scene.launched(1)
    scene.table.items.pop((f"pool#{runner.pool}", f"runner#{runner.id}"))
    scene.reports(runner, MachineState.BUSY, job_id=1, dated=AT + timedelta(days=2))
    for _ in range(2):
        scene.clock.go(121)
        assert scene.backend.ended == []
        scene.sweep()
    assert scene.backend.ended == [runner.machine_id]


@pytest.mark.parametrize("works", [False, True])
def test_a_runner_record_without_a_row_is_deleted_unless_a_job_runs_on_it(works: bool) -> None:
    scene = Scene()
    new = NewRunner(kind="group_type", description=f"{STRAY} ({STACK})", tags=("docker",))
    record = scene.gitlab.create_runner(new)
    theirs = scene.gitlab.create_runner(replace(new, description="another team's"))
    pool = scene.gitlab.create_runner(replace(new, description="fleet pool docker"))
    other = scene.gitlab.create_runner(replace(new, description=f"{STRAY} (other-fleet)"))
    if works:
        scene.push(1, status="running", runner_id=record.id)
    scene.sweep()
    assert record.id in scene.gitlab.records  # its row may be on the way
    scene.clock.go(121)
    scene.sweep()
    assert (record.id in scene.gitlab.records) is works
    assert {theirs.id, pool.id, other.id} <= set(scene.gitlab.records)


def test_a_failing_gitlab_stops_the_records_and_not_the_machines() -> None:
    scene = Scene()
    scene.gitlab.failing["runners_described"] = Transient(status=500)
    lost = Machine(machine_id="m-lost", alive=True, launched_at=AT, launch_id="gone", pool="docker")
    scene.backend.shown["m-lost"] = lost
    scene.clock.go(121)
    assert scene.sweep().strays == 1
    assert scene.backend.ended == ["m-lost"]


def test_the_runners_of_a_removed_pool_are_looked_after_until_they_are_gone() -> None:
    scene = Scene()
    runner = scene.runs(1)
    scene.with_config(FLEET.replace("pools.docker", "pools.other"), leaving=("docker",))
    for _ in range(5):
        scene.clock.go(60)
        assert scene.sweep() == SweepResult(runners=1, closed=0, strays=0)
    assert scene.backend.ended == []
    scene.clock.go(60)
    scene.gitlab.change(1, status="success")
    assert scene.sweep().closed == 1
    assert scene.backend.ended == [runner.machine_id]
    assert scene.runners == ()


@pytest.mark.parametrize("side", ["machine", "record"])
def test_what_cannot_be_ended_is_counted_as_leaked_and_not_as_closed(side: str) -> None:
    """One runner that said goodbye, and one stray of each kind."""
    scene = Scene()
    runner, well = scene.launched(1, 2)
    for busy in (runner, well):
        scene.reports(busy, MachineState.BUSY, job_id=1)
    scene.reports(runner, MachineState.DONE, StepName.ENDED)
    lost = Machine(machine_id="m-lost", alive=True, launched_at=AT, launch_id="gone", pool="docker")
    scene.backend.shown["m-lost"] = lost
    new = NewRunner(kind="group_type", description=f"{STRAY} ({STACK})", tags=("docker",))
    scene.gitlab.create_runner(new)
    scene.sweep()
    scene.clock.go(125)
    scene.reports(well, MachineState.BUSY, StepName.FIRST_OUTPUT, job_id=1)
    if side == "machine":
        scene.backend.failing = Transient()
    else:
        scene.gitlab.failing["delete_runner"] = Transient()
    assert scene.sweep() == SweepResult(runners=2, closed=0, strays=1, leaked=2)
    scene.backend.failing = None
    scene.gitlab.failing.clear()
    scene.backend.shown["m-lost"] = lost
    done = scene.sweep()
    assert (done.runners, done.closed, done.leaked) == (1, 1, 0)


def test_a_burst_that_ended_unseen_is_closed_in_one_sweep() -> None:
    scene = Scene(text=FLEET.replace("ceiling = 5", "ceiling = 30"))
    runners = scene.launched(*range(1, 31))
    for runner in runners:
        scene.reports(runner, MachineState.DONE, StepName.ENDED)
    scene.clock.go(200)
    assert scene.sweep().closed == 30
    assert scene.runners == ()
    assert scene.gitlab.records == {}
    scene.books_balance()


@dataclass
class Meanwhile(RunnerRows):
    """The rows of runners; something happens after a sweep has read them."""

    scene: Scene
    happens: Callable[[], object]

    def __post_init__(self) -> None:
        super().__init__(
            self.scene.table, MailboxRows(self.scene.table.mail, FakeCipher()), INSTANCE
        )

    def live_and_hidden(self, pool: str) -> LiveRunners:
        looked = super().live_and_hidden(pool)
        self.happens()
        return looked


def sweep_while(scene: Scene, happens: Callable[[], object]) -> SweepResult:
    scene.world = replace(scene.world, runners=Meanwhile(scene, happens))
    return scene.sweep()


@pytest.mark.parametrize("ordered", [False, True])
def test_a_runner_that_settle_closed_during_the_sweep_costs_no_call(ordered: bool) -> None:
    """The sweep of a burst takes a minute: it ended machines and deleted records again."""
    scene = Scene()
    runner = scene.runs(1)
    if ordered:
        end = Control(
            kind=ControlKind.END, about=runner.id, at=scene.clock(), who="dana", at_once=True
        )
        scene.world.fleet.order(end, Act(at=end.at, who=end.who, what=f"end {runner.id}"))
    else:
        scene.backend.die(runner.machine_id or "")
        scene.clock.go(200)

    def closes() -> None:
        scene.closes(runner, Reason.FINISHED)
        scene.gitlab.calls.clear()
        scene.backend.ended.clear()

    done = sweep_while(scene, closes)
    assert (done.closed, done.runners, done.leaked) == (0, 0, 0)
    assert not {"job", "runner_jobs", "delete_runner"} & set(scene.gitlab.calls)
    assert scene.backend.ended == []


def test_a_machine_that_reports_during_the_sweep_lives_on() -> None:
    """It booted late, and the sweep was busy with others."""
    scene = Scene()
    (runner,) = scene.launched(1)
    scene.clock.go(BOOT_S)
    done = sweep_while(scene, lambda: scene.reports(runner, MachineState.IDLE))
    assert (done.closed, done.runners) == (0, 1)
    assert scene.backend.ended == []


def test_a_row_that_cannot_be_read_again_stops_no_sweep() -> None:
    scene = Scene()
    scene.launched(1, 2)
    scene.clock.go(BOOT_S)

    class Throttled(Meanwhile):
        def find(self, runner_id: str) -> Runner | None:
            raise Transient(call="dynamodb.GetItem", code="ThrottlingException")

    scene.world = replace(scene.world, runners=Throttled(scene, lambda: None))
    assert scene.sweep().closed == 2
