"""Jobs whose machine died or whose webhook was lost: none stays open, none runs twice."""

from collections.abc import Callable
from typing import Any

import pytest

from adapters.gitlab.values import GitLabJob
from fleet.errors import Refused, Transient
from fleet.machine.mailbox import MachineState
from fleet.model import JobStatus, Runner, RunnerState
from fleet.reasons import Reason
from fleet.steps import Outcome, StepName
from orchestrator.settle import SettleResult, settle
from tests.fakes import FakeGitLab
from tests.unit.orchestrator.scene import FLEET, INSTANCE, RETRYING, Scene, described

BLAMED: dict[str, Any] = {"status": "failed", "failure_reason": "runner_system_failure"}
LATER_S = 31


def invocation_fails(scene: Scene, runner: Runner) -> SettleResult:
    """Lambda says that a runner's invocation failed; its mailbox is silent."""
    scene.backend.shows_machines = False
    event = {
        "detail-type": "Lambda Function Invocation Result - Failure",
        "detail": {"requestPayload": {"runner_id": runner.id}},
    }
    settled = settle(scene.world, event, round_=0)
    if settled.wait_s is None:
        return settled
    scene.clock.go(settled.wait_s)
    return settle(scene.world, event, round_=1)


def machine_goes(scene: Scene, runner: Runner) -> None:
    """AWS says that a runner's machine ended."""
    scene.world.backends["ec2"] = scene.backend  # type: ignore[index]
    scene.backend.die(runner.machine_id or "")
    scene.settle_machine("EC2 Instance State-change Notification", runner.machine_id or "")


def cloud_shows_no_machine(scene: Scene, runner: Runner) -> None:
    """The sweep finds a runner's machine ended."""
    scene.backend.die(runner.machine_id or "")
    scene.clock.go(200)  # the cloud may show a machine late
    for other in scene.runners:
        if other.id != runner.id:
            scene.reports(other, MachineState.IDLE)
    scene.sweep()


Finder = Callable[[Scene, Runner], object]
FINDERS = pytest.mark.parametrize(
    "found_by", [invocation_fails, machine_goes, cloud_shows_no_machine]
)


def says_goodbye(scene: Scene, runner: Runner, outcome: Outcome) -> None:
    """A machine comes to its regular end."""
    scene.reports(runner, MachineState.DONE, StepName.ENDED, job_id=1, outcome=outcome)


def retries(scene: Scene) -> int:
    """How often GitLab was asked to run a job again."""
    return scene.gitlab.calls.count("retry_job")


def test_a_lost_invocation_is_not_forgotten_while_gitlab_is_out() -> None:
    """Lambda tells of it once; what GitLab could not be asked then is done when it is back."""
    scene = Scene(text=RETRYING)
    scene.backend.shows_machines = False
    runner = scene.runs(1)
    scene.gitlab.failing["job"] = scene.gitlab.failing["runner_jobs"] = Transient(status=500)
    invocation_fails(scene, runner)
    assert scene.only_runner.machine_lost
    scene.clock.go(LATER_S)
    scene.sweep()
    assert scene.only_runner.machine_lost  # GitLab is out still
    scene.gitlab.failing.clear()
    scene.sweep()
    assert scene.runners == ()
    assert (scene.gitlab.records, retries(scene)) == ({}, 1)


@pytest.mark.parametrize("shown", [True, False], ids=["EC2", "Lambda"])
def test_an_end_without_a_webhook_is_recorded_when_the_machine_is_closed(shown: bool) -> None:
    scene = Scene()
    scene.backend.shows_machines = shown
    runner = scene.runs(1)
    scene.gitlab.change(1, status="success", finished_at=scene.clock())
    says_goodbye(scene, runner, Outcome.SUCCEEDED)
    scene.clock.go(LATER_S if shown else 0)
    assert scene.sweep().closed == 1
    assert not scene.runners
    row = scene.row(1)
    assert (row.job.status, row.job.outcome) == (JobStatus.FINISHED, "success")
    assert Reason.FINISHED_UNSEEN in {step.reason for step in row.steps}
    assert row.job.runner_id == runner.id
    assert row.finished_at is not None


@pytest.mark.parametrize(
    "reported_job", [2, None], ids=["its machine reported it", "its machine was mute"]
)
def test_a_job_without_any_webhook_is_recorded_when_its_machine_is_closed(
    reported_job: int | None,
) -> None:
    """The webhook of its start comes when its runner is gone: no webhook would report its end."""
    scene = Scene()
    (runner,) = scene.launched(1)
    scene.push(2)
    scene.hands_over(2, runner)
    scene.gitlab.change(2, status="success", finished_at=scene.clock())
    state = MachineState.DONE if reported_job else MachineState.IDLE
    scene.reports(runner, state, StepName.CREDENTIAL_READ, job_id=reported_job)
    scene.backend.die(runner.machine_id or "")
    scene.sweep()
    scene.clock.go(200)  # the cloud may show a machine late
    scene.sweep()
    assert scene.runners == ()
    scene.settle(2, "running", runner_description=described(runner))
    row = scene.row(2)
    assert (row.job.status, row.job.outcome) == (JobStatus.FINISHED, "success")
    assert row.job.runner_id == runner.id


@pytest.mark.parametrize("taken", [True, False], ids=["the sweep finds it", "reconcile finds it"])
def test_a_failure_without_a_webhook_is_retried(taken: bool) -> None:
    """Reconcile looks, where for the ledger the job still waits."""
    scene = Scene(text=RETRYING)
    scene.world.fleet.watch(INSTANCE, 7, "acme/demo", at=scene.clock())
    runner = scene.runs(1) if taken else scene.launched(1)[0]
    scene.hands_over(1, runner)
    scene.gitlab.change(1, **BLAMED)
    if taken:
        says_goodbye(scene, runner, Outcome.SYSTEM_FAILURE)
    scene.clock.go(LATER_S)
    (scene.sweep if taken else scene.reconcile)()
    assert scene.job(1).outcome == "failed"
    assert scene.row(1).failure_reason == "runner_system_failure"
    assert retries(scene) == 1
    assert scene.job(max(scene.gitlab.jobs)).on_demand


@pytest.mark.parametrize(
    "why", [Reason.RETRY_OFF, Reason.DEPLOYS, Reason.RETRIED_BEFORE, Reason.INFRA_RETRY]
)
def test_the_row_of_a_lost_job_that_is_left_to_people_says_so_at_once(why: Reason) -> None:
    """It is not cancelled, or `retry:` of its CI file could not count when GitLab fails it."""
    scene = Scene(text=FLEET + "infra_retry = false\n" if why is Reason.RETRY_OFF else FLEET)
    runner = scene.runs(1)
    if why is Reason.DEPLOYS:
        scene.settle(1, "running", runner_description=described(runner), deploys=True)
    if why is Reason.RETRIED_BEFORE:
        scene.table.items["job#gitlab.example.com#1", "job"]["on_demand"] = True
    if why is Reason.INFRA_RETRY:
        scene.gitlab.failing["cancel_job"] = Refused("insufficient_scope", status=403)
    invocation_fails(scene, runner)
    assert scene.gitlab.jobs[1].status == "running"
    assert retries(scene) == 0
    assert not scene.runners
    assert scene.row(1).steps[-1].name == "runner_record_gone"
    assert why in {step.reason for step in scene.row(1).steps if step.name == "retry"}
    (open_job,) = scene.world.jobs.unpooled(INSTANCE)
    assert (open_job.status, open_job.reason) == (JobStatus.RUNNING, Reason.MACHINE_LOST)
    scene.settle(1, "failed", failure_reason="stuck_or_timeout_failure")
    assert list(scene.world.jobs.unpooled(INSTANCE)) == []


@pytest.mark.parametrize("text", [FLEET, FLEET.replace("pools.docker", "pools.other")])
def test_a_lost_job_runs_once_more_also_where_its_pool_was_taken_away(text: str) -> None:
    scene = Scene()
    runner = scene.runs(1)
    scene.with_config(text, leaving=("docker",), removed=("docker",))
    invocation_fails(scene, runner)
    assert scene.gitlab.jobs[1].status == "canceled"
    assert retries(scene) == 1


@FINDERS
def test_a_machine_that_died_at_work_has_its_job_run_again(found_by: Finder) -> None:
    scene = Scene(text=RETRYING)
    runner = scene.runs(1)
    (other,) = scene.launched(2)
    found_by(scene, runner)
    assert scene.gitlab.jobs[1].status == "canceled"
    assert (scene.job(1).status, scene.job(1).outcome) == (JobStatus.FINISHED, "canceled")
    assert scene.row(1).finished_at == scene.clock()
    assert retries(scene) == 1
    assert scene.job(max(scene.gitlab.jobs)).on_demand
    assert [runner.id for runner in scene.runners] == [other.id]
    scene.settle(1, "canceled", runner_description=described(runner))  # its webhook comes late
    assert retries(scene) == 1


@FINDERS
def test_a_machine_that_died_before_it_took_a_job_is_replaced(found_by: Finder) -> None:
    scene = Scene()
    (runner,) = scene.launched(1)
    found_by(scene, runner)
    assert scene.job(1).attempt == 2
    assert [demand.attempt for demand in scene.queue.demands] == [2]
    assert scene.scale().launched == 1
    scene.books_balance()


@FINDERS
@pytest.mark.parametrize(
    ("job_id", "is_named"),
    [
        pytest.param(1, False, id="of its own job"),
        pytest.param(9, False, id="of one that the ledger never saw"),
        pytest.param(9, True, id="of one that only the machine named"),
    ],
)
def test_a_job_without_a_webhook_runs_again_when_its_machine_died(
    job_id: int, is_named: bool, found_by: Finder
) -> None:
    scene = Scene(text=RETRYING)
    (runner,) = scene.launched(1)
    if job_id != 1:
        scene.push(job_id)
    scene.hands_over(job_id, runner)
    if is_named:
        scene.reports(runner, MachineState.BUSY, StepName.JOB_TAKEN, job_id=job_id)
    found_by(scene, runner)
    assert scene.gitlab.jobs[job_id].status == "canceled"
    assert scene.job(job_id).outcome == "canceled"
    assert (scene.runners, retries(scene)) == ((), 1)


def test_gitlab_is_asked_once_whether_the_job_of_a_machine_that_served_none_still_waits() -> None:
    scene = Scene()
    (runner,) = scene.launched(1)
    scene.reports(runner, MachineState.DONE, StepName.ENDED, outcome=Outcome.NO_JOB)
    scene.clock.go(LATER_S)
    scene.gitlab.calls.clear()
    scene.sweep()
    assert scene.gitlab.calls == ["runner_jobs", "delete_runner", "job", "runners_described"]


def test_a_token_that_may_not_read_jobs_keeps_no_machine_open() -> None:
    scene = Scene(text=RETRYING)
    runner = scene.runs(1)
    scene.gitlab.failing["job"] = Refused("this token may not do this", status=403)
    invocation_fails(scene, runner)
    assert not scene.runners
    scene.books_balance()


def test_an_answer_older_than_the_goodbye_fails_no_finished_job() -> None:
    """GitLab took the runner's last word; what it answers to us comes from a lagging replica."""
    scene = Scene(text=RETRYING)
    runner = scene.runs(1)
    scene.backend.die(runner.machine_id or "")
    says_goodbye(scene, runner, Outcome.SUCCEEDED)
    scene.sweep()
    assert scene.only_runner.state is RunnerState.DONE
    assert scene.gitlab.jobs[1].status == "running"
    scene.clock.go(5)
    scene.gitlab.change(1, status="success")
    scene.sweep()
    assert not scene.runners
    assert scene.job(1).outcome == "success"
    assert retries(scene) == 0


def test_a_job_that_gitlab_never_heard_the_end_of_runs_again() -> None:
    """gitlab-runner gave up telling GitLab: GitLab shows a job at work on a machine long gone."""
    scene = Scene(text=RETRYING)
    runner = scene.runs(1)
    says_goodbye(scene, runner, Outcome.SUCCEEDED)
    scene.clock.go(LATER_S)
    scene.sweep()
    assert scene.gitlab.jobs[1].status == "running"  # its own word is not enough
    scene.backend.die(runner.machine_id or "")
    scene.sweep()
    assert not scene.runners
    assert scene.gitlab.jobs[1].status == "canceled"
    assert retries(scene) == 1


# The retry itself


@pytest.mark.parametrize("what", ["job", "pipeline_jobs", "cancel_job", "retry_job"])
def test_a_retry_that_gitlab_does_not_answer_is_carried_out_later(what: str) -> None:
    scene = Scene(text=RETRYING)
    runner = scene.runs(1)
    scene.gitlab.failing[what] = Transient(status=500)
    if what == "job":  # the first question is the sweep's own
        scene.gitlab.change(1, **BLAMED)
        scene.settle(
            1,
            "failed",
            runner_description=described(runner),
            failure_reason=BLAMED["failure_reason"],
        )
    else:
        invocation_fails(scene, runner)
    assert len(scene.gitlab.jobs) == 1
    scene.gitlab.failing.clear()
    scene.reconcile()
    assert len(scene.gitlab.jobs) == 1  # the caller that wrote the intent may still be at work
    scene.clock.go(LATER_S)
    for _ in range(2):
        scene.reconcile()
    assert len(scene.gitlab.jobs) == 2
    assert scene.job(max(scene.gitlab.jobs)).on_demand


def test_a_lost_job_that_a_person_cancels_meanwhile_is_not_run_again() -> None:
    scene = Scene(text=RETRYING)
    runner = scene.runs(1)
    scene.gitlab.failing["pipeline_jobs"] = Transient(status=500)
    invocation_fails(scene, runner)
    scene.gitlab.change(1, status="canceled")
    scene.gitlab.failing.clear()
    scene.clock.go(LATER_S)
    scene.reconcile()
    assert retries(scene) == 0
    assert scene.world.jobs.retries.due(before=scene.clock()) == []


class EndsJustNow(FakeGitLab):
    """Its answer to a cancellation shows that the job was over."""

    def cancel_job(self, project_id: int, job_id: int) -> GitLabJob:
        self.change(job_id, status="success")
        return super().cancel_job(project_id, job_id)


def test_a_lost_job_that_ended_well_in_this_moment_is_not_run_again() -> None:
    scene = Scene(text=RETRYING, gitlab=EndsJustNow())
    invocation_fails(scene, scene.runs(1))
    assert scene.gitlab.jobs[1].status == "success"
    assert retries(scene) == 0


def test_a_retry_of_a_job_that_gitlab_has_no_more_is_forgotten() -> None:
    scene = Scene(text=RETRYING)
    runner = scene.runs(1)
    scene.gitlab.failing["retry_job"] = Transient(status=500)
    invocation_fails(scene, runner)
    scene.gitlab.jobs.clear()
    scene.clock.go(LATER_S)
    scene.reconcile()
    assert scene.world.jobs.retries.due(before=scene.clock()) == []


@pytest.mark.parametrize(
    ("runner", "is_ours"),
    [
        ("rf-docker-0123456789ab (demo)", True),
        ("rf-docker-0123456789ab (other)", False),
        ("rf-lab box (demo)", False),
    ],
)
def test_what_others_machines_fail_is_theirs_to_retry(runner: str, is_ours: bool) -> None:
    """They have the same tags: no webhook said who took it, and GitLab shows who failed it."""
    scene = Scene()
    scene.waits(1)
    scene.gitlab.change(1, **BLAMED)
    scene.settle(1, "failed", runner_description=runner, failure_reason=BLAMED["failure_reason"])
    assert retries(scene) == int(is_ours)
