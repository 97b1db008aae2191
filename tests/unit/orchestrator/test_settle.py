"""What closes the books: a job taken, a job over, a machine that goes; twice and out of order."""

from dataclasses import replace
from typing import Any

import pytest

from fleet.errors import Refused
from fleet.machine.mailbox import MachineState
from fleet.model import JobStatus, Runner, RunnerState
from fleet.reasons import Reason
from fleet.steps import Outcome, StepName
from orchestrator.settle import settle
from tests.fakes import FakeBackend
from tests.unit.orchestrator.scene import (
    AT,
    FLEET,
    PROJECT,
    RETRYING,
    Scene,
    described,
    key,
)

OFF = FLEET + "infra_retry = false\n"
GONE = "EC2 Instance State-change Notification"
SPOT = "EC2 Spot Instance Interruption Warning"
SCRIPT = {"failure_reason": "script_failure"}
BLAMED: dict[str, Any] = {"failure_reason": "runner_system_failure"}


def on_ec2(scene: Scene) -> Scene:
    """Machine events are of EC2: its mailboxes are found like those of the back end in tests."""
    ec2 = FakeBackend(clock=scene.clock, name="ec2", shows_machines=False)
    scene.world = replace(scene.world, backends={**scene.world.backends, "ec2": ec2})
    return scene


def test_a_job_that_was_taken_leaves_the_backlog() -> None:
    scene = Scene()
    runner = scene.runs(1)
    row = scene.row(1)
    assert (row.job.status, row.job.runner_id) == (JobStatus.RUNNING, runner.id)
    assert (row.started_at, row.machine) == (AT, runner.machine_id)
    assert scene.world.jobs.waiting_in("docker") == ()
    assert (runner.state, runner.job, runner.works_for) == (RunnerState.BUSY, key(1), PROJECT)
    assert scene.steps(1)[-2:] == ["webhook_received", "taken"]


def test_a_job_that_ended_is_closed_once_its_machine_said_goodbye() -> None:
    scene = Scene()
    runner = scene.runs(1)
    first = scene.settle(1, "success", runner_description=described(runner), finished_at=AT)
    assert (first.reason, first.wake) == (Reason.GRACE, False)
    assert first.wait_s
    assert scene.job(1).outcome == "success"
    scene.reports(runner, MachineState.DONE, StepName.JOB_FINISHED, StepName.ENDED, job_id=1)
    second = scene.settle(1, "success", round_=1, runner_description=described(runner))
    assert (second.reason, second.wait_s, second.wake) == (Reason.FINISHED, None, False)
    assert scene.runners == ()
    assert scene.gitlab.records == {}
    assert scene.backend.ended == [runner.machine_id]
    scene.books_balance()
    row = scene.row(1)
    assert row.torn_down_at == scene.clock()
    steps = scene.steps(1)
    assert {"job_taken", "ended", "machine_gone", "runner_record_gone"} <= set(steps)
    assert steps.count("success") == 1


@pytest.mark.parametrize(
    ("gitlab_says", "reason"), [("success", Reason.FINISHED), ("running", Reason.STILL_BUSY)]
)
def test_a_machine_that_does_not_end_by_itself_is_ended_when_gitlab_agrees(
    gitlab_says: str, reason: Reason
) -> None:
    scene = Scene()
    runner = scene.runs(1)
    scene.gitlab.change(1, status=gitlab_says)
    for round_ in (0, 1):
        assert scene.settle(
            1, "success", round_=round_, runner_description=described(runner)
        ).wait_s
    last = scene.settle(1, "success", round_=2, runner_description=described(runner))
    assert (last.reason, last.wait_s) == (reason, None)
    assert (scene.runners == ()) is (reason is Reason.FINISHED)


@pytest.mark.parametrize(
    "order", [("running", "success"), ("success", "running"), ("success",), ()]
)
def test_a_runner_of_another_job_is_torn_down_in_the_history_of_the_job_it_had(
    order: tuple[str, ...],
) -> None:
    """The start of a job may arrive after its end, or not at all; the sweep then asks GitLab."""
    scene = Scene()
    (runner,) = scene.launched(1)
    scene.waits(2)
    scene.hands_over(2, runner)
    scene.gitlab.change(2, status="success", finished_at=scene.clock())
    for status in order:
        scene.settle(2, status, runner_description=described(runner))
    scene.reports(runner, MachineState.DONE, StepName.JOB_TAKEN, StepName.ENDED, job_id=2)
    if "success" in order:
        scene.settle(2, "success", round_=1, runner_description=described(runner))
    else:
        scene.clock.go(600)
        scene.sweep()
    assert scene.runners == ()
    row = scene.row(2)
    assert (row.torn_down_at, row.machine) == (scene.clock(), runner.machine_id)
    assert {"job_taken", "ended", "machine_gone", "runner_record_gone"} <= set(scene.steps(2))
    assert (scene.row(1).torn_down_at, scene.job(1).attempt) == (None, 1)
    assert "machine_gone" not in scene.steps(1)
    assert scene.scale().launched == 1


# A job that its machine failed


def test_what_the_machine_failed_runs_once_more() -> None:
    scene = Scene(text=RETRYING)
    runner = scene.runs(1)
    scene.gitlab.change(1, status="failed", **BLAMED)
    for _ in range(2):  # the webhook comes twice
        scene.settle(1, "failed", runner_description=described(runner), **BLAMED)
    assert scene.gitlab.calls.count("retry_job") == 1
    again = max(scene.gitlab.jobs)
    assert scene.job(again).on_demand
    assert scene.route(again).wake
    assert scene.job(again).on_demand


@pytest.mark.parametrize(
    ("settings", "failure", "sibling", "reason"),
    [
        pytest.param(RETRYING, BLAMED, True, Reason.ALREADY_RETRIED, id="GitLab retried it"),
        pytest.param(RETRYING, SCRIPT, False, None, id="its script failed"),
        pytest.param(OFF, BLAMED, False, Reason.RETRY_OFF, id="the pool says no"),
    ],
)
def test_a_failed_job_that_is_not_retried_says_why(
    settings: str, failure: dict[str, Any], sibling: bool, reason: Reason | None
) -> None:
    scene = Scene(text=settings)
    runner = scene.runs(1)
    scene.gitlab.change(1, status="failed", **failure)
    if sibling:
        scene.push(2, name="job-1")
    scene.settle(1, "failed", runner_description=described(runner), **failure)
    assert "retry_job" not in scene.gitlab.calls
    assert [step.reason for step in scene.row(1).steps if step.name == "retry"] == (
        [reason] if reason else []
    )


def test_a_retry_that_gitlab_refuses_is_noted_and_not_tried_again() -> None:
    scene = Scene(text=RETRYING)
    runner = scene.runs(1)
    scene.gitlab.failing["retry_job"] = Refused("not retryable", status=403)
    scene.settle(1, "failed", runner_description=described(runner), **BLAMED)
    last = scene.row(1).steps[-1]
    assert (last.name, last.reason) == (StepName.RETRY, Reason.INFRA_RETRY)
    assert "not retryable" in (last.detail or "")


@pytest.mark.parametrize(
    ("waiting", "settings", "wakes"),
    [
        pytest.param((), "", False, id="no job waits: most ends are of no use to any"),
        pytest.param((2,), "", True, id="a job waits for room"),
        pytest.param((), "idle = { count = 1 }\n", True, id="one is to be kept warm"),
    ],
)
def test_an_end_wakes_the_autoscaler_where_it_makes_room(
    waiting: tuple[int, ...], settings: str, wakes: bool
) -> None:
    scene = Scene(text=FLEET.replace("ceiling = 5\n", f"ceiling = 1\n{settings}"))
    runner = scene.runs(1)
    for job_id in waiting:
        scene.waits(job_id)
    assert scene.scale().again_in_s == (1 if wakes else None)  # an end meanwhile sent no wake
    assert scene.scale().again_in_s is None
    scene.reports(runner, MachineState.DONE, StepName.ENDED, job_id=1)
    done = scene.settle(1, "success", round_=1, runner_description=described(runner))
    assert (done.reason, done.wake) == (Reason.FINISHED, wakes)
    assert scene.scale().launched == (1 if wakes else 0)
    assert scene.scale().again_in_s is None


# Machines that go


def test_a_machine_that_is_none_of_ours_is_nothing() -> None:
    scene = on_ec2(Scene())
    scene.runs(1)
    done = scene.settle_machine(GONE, "i-of-another")
    assert (done.reason, done.wake) == (Reason.NO_RECORD, False)
    assert len(scene.runners) == 1


def finished_before_its_events(scene: Scene) -> Runner:
    """A runner whose job and machine ended while GitLab's events are under way."""
    scene.world.backends["ec2"] = scene.backend  # type: ignore[index]
    (runner,) = scene.launched(1)
    scene.hands_over(1, runner)
    scene.reports(runner, MachineState.DONE, StepName.JOB_TAKEN, StepName.ENDED, job_id=1)
    scene.gitlab.change(1, status="success", finished_at=scene.clock())
    scene.backend.die(runner.machine_id or "")
    scene.gitlab.calls.clear()
    return runner


def test_a_machine_that_ends_before_its_jobs_events_costs_no_question() -> None:
    scene = Scene()
    runner = finished_before_its_events(scene)
    first = scene.settle_machine(GONE, runner.machine_id or "")
    assert (first.reason, first.wait_s) == (Reason.GRACE, 15)
    scene.settle(1, "success", runner_description=described(runner))
    assert scene.settle_machine(GONE, runner.machine_id or "", round_=1).reason is Reason.NO_RECORD
    assert not {"job", "runner_jobs"} & set(scene.gitlab.calls)
    assert scene.gitlab.calls.count("delete_runner") == 1
    assert (scene.job(1).runner_id, scene.row(1).torn_down_at) == (runner.id, scene.clock())


def test_events_that_never_come_are_asked_for_once() -> None:
    scene = Scene()
    runner = finished_before_its_events(scene)
    settled = scene.settle_machine(GONE, runner.machine_id or "", round_=1)
    assert settled.reason is Reason.WENT_UNSERVED
    assert scene.gitlab.calls.count("runner_jobs") == 1
    assert "job" not in scene.gitlab.calls
    assert (scene.job(1).runner_id, scene.job(1).outcome) == (runner.id, "success")
    assert scene.scale().launched == 0


@pytest.mark.parametrize("busy", [False, True])
def test_a_spot_notice_drains_an_idle_machine_and_is_noted_of_a_busy_one(busy: bool) -> None:
    scene = on_ec2(Scene())
    runner = scene.runs(1) if busy else scene.launched(1)[0]
    if not busy:
        scene.reports(runner, MachineState.IDLE, StepName.CALLED_HOME)
    scene.settle_machine(SPOT, runner.machine_id or "")
    assert (scene.only_runner.state is RunnerState.DRAINING) is not busy
    assert ("spot_notice" in scene.steps(1)) is busy


def test_a_runner_that_cannot_be_ended_counts_until_it_says_goodbye() -> None:
    """A canceled Lambda job that ignores SIGTERM: it was "gone" after 17 s, and ran on."""
    scene = Scene()
    scene.backend.shows_machines = False
    runner = scene.runs(1)
    scene.gitlab.change(1, status="canceled")
    rounds = [
        scene.settle(1, "canceled", round_=n, runner_id=runner.gitlab_runner_id) for n in (0, 1, 2)
    ]
    assert rounds[-1].reason == Reason.ENDS_ALONE
    assert scene.world.fleet.pool("docker").in_use == 1
    assert "machine_gone" not in scene.steps(1)
    for _ in range(4):
        scene.clock.go(60)
        scene.reports(runner, MachineState.BUSY, job_id=1)
        assert scene.sweep().closed == 0
    scene.reports(runner, MachineState.DONE, StepName.ENDED, job_id=1, outcome=Outcome.CANCELED)
    assert scene.sweep().closed == 1
    scene.books_balance()


def test_an_event_after_a_later_one_is_a_hop_once() -> None:
    scene = Scene()
    (runner,) = scene.launched(1)
    scene.hands_over(1, runner)
    facts: dict[str, Any] = {"runner_description": described(runner)}
    scene.settle(1, "success", delivery_id="end", **facts)
    scene.settle(1, "success", delivery_id="end", **facts)  # a try after a crash
    for _ in range(2):
        scene.settle(1, "running", delivery_id="start", **facts)
    late = [
        (step.name, step.reason, step.delivery_id or step.detail)
        for step in scene.row(1).steps[-2:]
    ]
    assert late == [
        ("webhook_received", None, "start"),
        ("ignored", "stale_event", "running"),
    ]
    assert scene.steps(1).count("webhook_received") == 3  # of pending, running and success
    assert scene.job(1).outcome == "success"


def test_an_event_of_another_kind_is_refused() -> None:
    with pytest.raises(Refused):
        settle(Scene().world, {"detail-type": "Object Created", "detail": {}}, round_=0)
