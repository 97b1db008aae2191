"""What is kept of ended runners and jobs: once, with their hops, whichever side ends first."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from adapters.ledger.table import Change
from fleet.machine.mailbox import MachineState, Report
from fleet.past import PastRun
from fleet.reasons import Reason
from fleet.steps import Step, StepName
from fleet.usage import Usage
from tests.unit.orchestrator.scene import AT, INSTANCE, PROJECT, SPOT, Scene, described, key


def past_runs(scene: Scene) -> list[PastRun]:
    return scene.world.history.between(AT - timedelta(days=1), AT + timedelta(days=2))


def test_a_job_and_its_machine_are_one_run_with_their_hops() -> None:
    scene = Scene()
    (runner,) = scene.launched(1)
    scene.clock.go(30)
    scene.reports(runner, MachineState.IDLE, StepName.CALLED_HOME)
    scene.clock.go(5)
    scene.hands_over(1, runner)
    record: dict[str, Any] = {
        "runner_id": runner.gitlab_runner_id,
        "runner_description": described(runner),
    }
    scene.settle(1, "running", started_at=scene.clock(), **record)
    scene.clock.go(60)
    scene.reports(runner, MachineState.DONE, StepName.JOB_FINISHED, StepName.ENDED, job_id=1)
    scene.gitlab.change(1, status="success", finished_at=scene.clock())
    for _ in range(2):
        facts = record | {"started_at": AT + timedelta(seconds=35), "finished_at": scene.clock()}
        scene.settle(1, "success", round_=0, **facts)
    for round_ in range(1, 4):
        scene.clock.go(10)
        scene.settle(1, "success", round_=round_, **facts)
    (run,) = past_runs(scene)
    assert (run.id, run.job_id, run.outcome, run.for_job) == (runner.id, 1, "success", 1)
    assert (run.launched_at, run.called_home_at) == (AT, AT + timedelta(seconds=30))
    assert run.taken_at == AT + timedelta(seconds=35)
    assert run.finished_at == AT + timedelta(seconds=95)
    assert run.heard_by == "webhook_received"
    assert run.hops() == {"webhook": 1, "route": 0, "launch": 0, "boot": 30, "take": 5}


def test_a_job_that_ended_unseen_is_kept_with_its_runner() -> None:
    """No webhook arrived, neither of its start nor of its end."""
    scene = Scene()
    scene.world.fleet.note_listed(INSTANCE, at=AT)
    scene.world.fleet.watch(INSTANCE, PROJECT, "acme/p7", at=AT)
    (runner,) = scene.launched(1)
    scene.hands_over(1, runner)
    scene.gitlab.change(1, status="failed", failure_reason="script_failure")
    scene.clock.go(60)
    scene.reconcile()
    scene.reports(runner, MachineState.DONE)
    scene.backend.die(runner.machine_id or "")
    assert scene.sweep().closed == 1
    (gone,) = (step for step in scene.row(1).steps if step.name is StepName.MACHINE_GONE)
    assert gone.reason is Reason.MACHINE_GONE
    (run,) = past_runs(scene)
    assert (run.job_id, run.outcome, run.failure) == (1, "failed", "script_failure")


def test_a_machine_without_a_job_is_kept_with_the_job_it_was_for() -> None:
    scene = Scene()
    (runner,) = scene.launched(1)
    assert scene.closes(runner, Reason.BOOT_DEADLINE)
    assert not scene.closes(runner, Reason.BOOT_DEADLINE)
    (run,) = past_runs(scene)
    assert (run.job_id, run.for_job, run.reason) == (None, 1, "boot_deadline")


def test_a_job_that_ends_before_any_machine_is_kept_too() -> None:
    scene = Scene()
    scene.waits(1)
    for _ in range(2):
        scene.settle(1, "canceled", finished_at=scene.clock())
    (run,) = past_runs(scene)
    assert (run.id, run.outcome, run.had_machine, run.pool) == (
        "job-1",
        "canceled",
        False,
        "docker",
    )


def test_the_end_that_gitlab_tells_after_the_machine_joins_its_run() -> None:
    scene = Scene()
    runner = scene.runs(1)
    scene.clock.go(50)
    assert scene.closes(runner, Reason.MACHINE_GONE)
    (run,) = past_runs(scene)
    assert (run.job_id, run.outcome) == (1, None)
    scene.clock.go(50)
    scene.settle(1, "failed", failure_reason="runner_system_failure", finished_at=scene.clock())
    (run,) = past_runs(scene)
    assert (run.id, run.outcome, run.failure) == (runner.id, "failed", "runner_system_failure")


def test_the_end_of_a_machine_that_another_jobs_runner_replaced_is_not_the_jobs() -> None:
    """The job was launched for on one machine and taken by another: each end is its own."""
    scene = Scene()
    first, second = scene.launched(1, 2)
    scene.takes(1, second)
    assert scene.closes(first, Reason.SURPLUS)
    row = scene.row(1)
    assert (row.machine, row.torn_down_at) == (second.machine_id, None)
    assert scene.world.runners.launched_for(second.id) == key(2)
    assert scene.world.runners.launched_for(first.id) == key(1)  # ended


def test_what_a_job_used_is_kept() -> None:
    scene = Scene()
    runner = scene.runs(1)
    used = Step(
        at=scene.clock(), name=StepName.USED, usage=Usage(cpu_s=12.5, memory_peak=512 << 20)
    )
    report = Report(
        heartbeat_at=scene.clock(), state=MachineState.DONE, runner_id=runner.id, steps=(used,)
    )
    item = report.item()
    new = item.pop("steps")
    write = Change(pk=runner.mailbox or "", sk="report", put=item, append={"steps": new})
    scene.table.mail.write(write)
    assert scene.closes(runner, Reason.FINISHED)
    (run,) = past_runs(scene)
    assert (run.cpu_s, run.peak_memory_mb) == (12.5, 512)


@pytest.mark.parametrize(("paid", "usd"), [(0.05, 0.05), (None, 0.0353)])
def test_a_spot_machine_costs_what_its_launch_paid_where_that_is_known(
    paid: float | None, usd: float
) -> None:
    scene = Scene()
    scene.world = replace(scene.world, spot_price=lambda _place: paid)
    scene.backend.places = (SPOT,)
    (runner,) = scene.launched(1)
    scene.clock.go(3_600)
    assert scene.closes(runner, Reason.SURPLUS)
    (run,) = past_runs(scene)
    assert run.usd is not None
    disk_and_address = Decimal("0.0105")
    assert float(run.usd - disk_and_address) == pytest.approx(usd, abs=0.0001)
