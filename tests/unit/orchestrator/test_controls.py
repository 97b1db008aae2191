"""An operator's orders and budgets, as scaling and the sweep carry them out."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.gitlab.values import NewRunner
from adapters.ledger.controls import Act
from adapters.ledger.table import Item
from fleet.errors import Refused
from fleet.machine.mailbox import MachineState
from fleet.model import RunnerState
from fleet.reasons import Reason
from fleet.rules.controls import ALL, Control, ControlKind
from fleet.rules.scale import decide_scale
from fleet.steps import StepName
from orchestrator.observe import observe, observe_restraints
from orchestrator.scale import carry_out
from tests.fakes import FakeBackend, FakeTable
from tests.unit.orchestrator.scene import AT, FLEET, PROJECT, Scene, key


class QueriedTable(FakeTable):
    """Remembers what was queried."""

    def __init__(self) -> None:
        super().__init__()
        self.queries: list[tuple[str, str]] = []

    def query(self, pk: str, prefix: str = "") -> Iterator[Item]:
        self.queries.append((pk, prefix))
        return super().query(pk, prefix)


IDLE = FLEET + "idle = { count = 2 }\n"
BUDGET = FLEET + "budget_usd_per_day = 1\n"
PROJECTS = FLEET + "\n[budgets.projects]\n7 = 1\n"


def orders(scene: Scene, kind: ControlKind, about: str, **facts: Any) -> Control:
    control = Control(kind=kind, about=about, at=scene.clock(), who="dana", **facts)
    scene.world.fleet.order(control, Act(at=scene.clock(), who="dana", what=f"{kind} {about}"))
    return control


def reasons(scene: Scene, *jobs: int) -> list[Reason | None]:
    return [scene.job(number).reason for number in jobs]


@pytest.mark.parametrize("about", ["docker", ALL])
def test_a_paused_pool_launches_nothing_and_says_so(about: str) -> None:
    scene = Scene(IDLE)
    order = orders(scene, ControlKind.PAUSE, about)
    scene.waits(1)
    for _ in range(2):
        assert scene.scale().launched == 0
    assert reasons(scene, 1) == [Reason.PAUSED]
    assert scene.world.fleet.pool("docker").reason == "paused"
    scene.world.fleet.take_back(order, Act(at=AT, who="dana", what="resume"))
    assert scene.scale().launched == 3  # the job's and two warm ones


def test_warm_runners_of_a_paused_pool_end_and_busy_ones_go_on() -> None:
    scene = Scene()
    busy = scene.runs(1)
    scene.with_config(IDLE)
    scene.scale()
    idle = [runner for runner in scene.runners if runner.id != busy.id]
    orders(scene, ControlKind.PAUSE, "docker")
    for _ in range(2):
        for runner in idle:
            scene.reports(runner, MachineState.IDLE)
        scene.reports(busy, MachineState.BUSY, job_id=1)
        scene.clock.go(700)
        scene.scale()
    states = {runner.id: runner.state for runner in scene.runners}
    assert states.pop(busy.id) is RunnerState.BUSY
    assert set(states.values()) == {RunnerState.DRAINING}


@pytest.mark.parametrize(("ceiling", "launched"), [(0, 0), (2, 2), (7, 7)])
def test_another_ceiling_holds_for_its_time(ceiling: int, launched: int) -> None:
    scene = Scene()
    orders(scene, ControlKind.CEILING, "docker", ceiling=ceiling, until=AT + timedelta(hours=1))
    scene.waits(*range(1, 9))
    assert scene.scale().launched == launched
    assert Reason.AT_CEILING in reasons(scene, *range(1, 9))
    scene.clock.go(3601)
    scene.scale()
    assert len(scene.runners) == max(5, launched)  # as fleet.toml says


def test_how_long_a_pool_is_full_is_written_down() -> None:
    scene = Scene()
    scene.waits(*range(1, 8))
    scene.scale()
    scene.clock.go(60)
    scene.scale()
    assert scene.world.fleet.pool("docker").full_since == AT
    for number in (6, 7):
        scene.settle(number, "canceled")
    scene.scale()
    assert scene.world.fleet.pool("docker").full_since is None


def test_a_runner_that_is_ordered_to_end_is_drained_and_its_job_is_launched_for() -> None:
    scene = Scene()
    (runner,) = scene.launched(1)
    orders(scene, ControlKind.END, runner.id)
    for _ in range(3):
        scene.scale()
    by_id = {each.id: each for each in scene.runners}
    assert by_id.pop(runner.id).state is RunnerState.DRAINING
    assert [each.for_job for each in by_id.values()] == [key(1)]


def test_a_runner_that_is_ordered_to_end_at_once_is_closed_by_the_sweep() -> None:
    scene = Scene(FLEET + "infra_retry = true\n")
    runner = scene.runs(1)
    orders(scene, ControlKind.END, runner.id, at_once=True)
    for _ in range(2):
        scene.sweep()
    assert scene.runners == ()
    assert scene.backend.ended == [runner.machine_id]
    assert StepName.RETRY in {step.name for step in scene.row(1).steps}
    (run,) = scene.world.history.between(AT - timedelta(days=1), AT + timedelta(days=1))
    assert run.reason == "ordered"


@pytest.mark.parametrize("at_once", [True, False])
def test_the_event_of_a_machines_end_keeps_the_order_behind_it(at_once: bool) -> None:
    scene = Scene()
    ec2 = FakeBackend(clock=scene.clock, name="ec2", shows_machines=False)
    scene.world = replace(scene.world, backends={**scene.world.backends, "ec2": ec2})
    runner = scene.runs(1)
    orders(scene, ControlKind.END, runner.id, at_once=at_once)
    scene.backend.die(runner.machine_id or "")
    scene.settle_machine("EC2 Instance State-change Notification", runner.machine_id or "")
    assert scene.runners == ()
    (gone,) = (step for step in scene.row(1).steps if step.name is StepName.MACHINE_GONE)
    assert gone.reason is (Reason.ORDERED if at_once else Reason.MACHINE_GONE)


def test_what_only_ends_by_itself_is_drained() -> None:
    scene = Scene()
    scene.backend.shows_machines = False
    runner = scene.runs(1)
    orders(scene, ControlKind.END, runner.id, at_once=True)
    scene.sweep()
    scene.scale()
    runner = scene.only_runner
    assert runner.is_called_off
    written = scene.table.mail.writes
    scene.scale()
    assert scene.table.mail.writes == written  # ordered once


# Budgets


def spends(scene: Scene, usd: float) -> None:
    """An ended machine cost so much today."""
    day = f"spend#{scene.clock():%Y-%m-%d}"
    for name in ("pool#docker", f"project#{PROJECT}"):
        scene.table.items[day, name] = {"pk": day, "sk": name, "nano": int(usd * 10**9)}


@pytest.mark.parametrize("text", [BUDGET, PROJECTS, PROJECTS.replace("7 =", '"Acme/Demo" =')])
def test_a_budget_that_is_used_up_holds_launches_until_midnight(text: str) -> None:
    scene = Scene(text)
    scene.waits(1)
    spends(scene, 0.99)
    assert scene.scale().launched == 1
    spends(scene, 1)
    scene.waits(2)
    assert scene.scale().launched == 0
    assert reasons(scene, 2) == [Reason.BUDGET]
    scene.clock.go(86_400)
    assert scene.scale().launched == 1


def test_the_budget_of_one_project_holds_no_other() -> None:
    scene = Scene(PROJECTS)
    spends(scene, 5)
    scene.waits(1)
    scene.waits(2, project_id=8)
    assert scene.scale().launched == 1
    assert reasons(scene, 1, 2) == [Reason.BUDGET, Reason.COVERED]


def test_live_machines_count_with_what_they_cost_so_far() -> None:
    scene = Scene(BUDGET.replace("= 1\n", "= 0.1\n"))
    runner = scene.runs(1)
    pool = "pool#docker"
    scene.table.items[pool, f"runner#{runner.id}"] |= {"capacity": "m7i.large/subnet-1/on-demand"}
    scene.waits(2)
    scene.clock.go(3_700)
    scene.reports(runner, MachineState.BUSY, job_id=1)
    assert scene.scale().launched == 0
    assert reasons(scene, 2) == [Reason.BUDGET]


@pytest.mark.parametrize("text", [FLEET, BUDGET])
def test_a_round_reads_the_runners_of_a_pool_once(text: str) -> None:
    table = QueriedTable()
    scene = Scene(text, table=table)
    scene.waits(1)
    assert scene.scale().launched == 1
    table.queries.clear()
    scene.scale()
    assert table.queries.count(("pool#docker", "runner#")) == 1


def test_a_launch_of_another_round_since_the_budgets_were_counted_is_not_done_twice() -> None:
    scene = Scene(BUDGET)
    scene.waits(1)
    restraints = observe_restraints(scene.world)
    assert scene.scale().launched == 1
    observed = observe(scene.world, scene.world.config.pools[0], messages=1, restraints=restraints)
    assert observed.snapshot.runners == ()  # as it was then
    assert (
        carry_out(scene.world, observed, decide_scale(observed.snapshot, observed.limits)).machines
        == 0
    )


def test_each_ended_machine_counts_once() -> None:
    scene = Scene(BUDGET)
    runner = replace(scene.runs(1), capacity="m7i.large/subnet-1/on-demand")
    scene.clock.go(3_600)
    for _ in range(2):
        scene.closes(runner, Reason.FINISHED)
    spent = scene.world.fleet.spent(scene.clock().date())
    (run,) = scene.world.history.between(AT - timedelta(days=1), AT + timedelta(days=1))
    assert run.usd_nano
    assert (spent.pools, spent.projects) == ({"docker": run.usd_nano}, {PROJECT: run.usd_nano})


# What `status` reads of the sweep


def test_what_a_sweep_cannot_end_is_written_down_until_it_is_gone() -> None:
    scene = Scene()
    runner = scene.runs(1)
    orders(scene, ControlKind.END, runner.id, at_once=True)
    scene.gitlab.failing["delete_runner"] = Refused("not allowed", status=403)
    scene.sweep()
    summary = scene.world.fleet.last_sweep()
    assert summary is not None
    assert summary.leaked == (runner.id,)
    scene.gitlab.failing.clear()
    scene.sweep()
    summary = scene.world.fleet.last_sweep()
    assert summary is not None
    assert summary.leaked == ()


def test_the_runners_of_another_stack_are_seen() -> None:
    scene = Scene()
    scene.runs(1)
    for stack in ("demo", "other", "other"):
        new = NewRunner(
            description=f"rf-docker-0123456789ab ({stack})",
            kind="group_type",
            owner_id=42,
            tags=("docker",),
        )
        scene.gitlab.create_runner(new)
    scene.sweep()
    summary = scene.world.fleet.last_sweep()
    assert summary is not None
    assert summary.neighbours == ("other",)
