"""An end without a webhook is found in time: the fleet asks GitLab about jobs that never end."""

from collections.abc import Callable
from typing import Any

import pytest

from fleet.errors import Refused, Transient
from fleet.model import GONE, JobStatus
from fleet.reasons import Reason
from tests.unit.orchestrator.scene import PROJECT, Scene, key
from tests.unit.orchestrator.test_reconcile import watching

HOUR = 3600
ELSEWHERE: dict[str, Any] = {"runner_id": 77, "runner_description": "a runner of another team"}


def running_elsewhere(*job_ids: int) -> Scene:
    """Jobs of a watched project that other runners took, as their webhooks reported."""
    scene = watching()
    for job_id in job_ids:
        scene.waits(job_id)
        scene.gitlab.change(job_id, status="running", **ELSEWHERE)
        scene.settle(job_id, "running", **ELSEWHERE)
    return scene


def asked(scene: Scene) -> int:
    return scene.gitlab.calls.count("job")


def without_a_pool() -> Scene:
    scene = watching()
    scene.waits(1, tags=("gpu",))
    return scene


def of_a_lost_machine() -> Scene:
    scene = watching()
    runner = scene.runs(1)
    scene.clock.go(HOUR)
    scene.settle_machine("EC2 Instance State-change Notification", runner.machine_id or "")
    assert scene.job(1).status is JobStatus.RUNNING
    return scene


@pytest.mark.parametrize("job", [lambda: running_elsewhere(1), without_a_pool, of_a_lost_machine])
def test_a_job_ends_unseen(job: Callable[[], Scene]) -> None:
    scene = job()
    scene.gitlab.change(1, status="failed")
    scene.clock.go(HOUR)
    assert scene.reconcile().looked_up == 1
    assert (scene.job(1).status, scene.job(1).outcome) == (JobStatus.FINISHED, "failed")
    assert scene.row(1).steps[-1].reason == Reason.FINISHED_UNSEEN


@pytest.mark.parametrize(("is_over", "after_s"), [(False, HOUR - 1), (True, HOUR)])
def test_an_end_that_webhooks_reported_or_may_still_report_is_not_looked_up(
    is_over: bool, after_s: int
) -> None:
    scene = running_elsewhere(1)
    if is_over:
        scene.settle(1, "success", **ELSEWHERE)
    before = asked(scene)
    scene.clock.go(after_s)
    assert scene.reconcile().looked_up == 0
    assert asked(scene) == before


def test_a_long_job_costs_one_call_an_hour() -> None:
    scene = running_elsewhere(1)
    before = asked(scene)
    for _ in range(3 * 60):
        scene.clock.go(60)
        scene.reconcile()
    assert asked(scene) - before == 3
    assert scene.job(1).status is JobStatus.RUNNING
    assert scene.steps(1).count("taken") == 1


def test_an_outage_of_gitlab_puts_nothing_off() -> None:
    scene = running_elsewhere(1)
    scene.gitlab.change(1, status="success")
    scene.gitlab.failing["job"] = Transient("GitLab is out", status=500)
    scene.clock.go(HOUR)
    assert scene.reconcile().looked_up == 0
    scene.gitlab.failing.clear()
    scene.clock.go(60)
    scene.reconcile()
    assert scene.job(1).outcome == "success"


@pytest.mark.parametrize(("status", "looked_up"), [(404, 2), (403, 0)])
def test_the_jobs_of_a_project_that_is_gone_end(status: int, looked_up: int) -> None:
    """A project that only answers no for now keeps its jobs."""
    scene = watching()
    scene.waits(1, 2)
    scene.gitlab.jobs.clear()
    scene.gitlab.failing[f"pending_jobs {PROJECT}"] = Refused("no", status=status)
    assert scene.reconcile().looked_up == looked_up
    waiting = {job.key for job in scene.world.jobs.waiting_in("docker")}
    assert waiting == (set() if looked_up else {key(1), key(2)})


def test_a_project_that_was_only_hidden_is_served_when_it_is_back() -> None:
    """A token that lost its access for an hour must not cost the jobs that waited meanwhile."""
    scene = watching()
    scene.waits(1)
    hidden = dict(scene.gitlab.jobs)
    scene.gitlab.jobs.clear()
    scene.gitlab.failing[f"pending_jobs {PROJECT}"] = Refused("no", status=404)
    scene.reconcile()
    assert scene.job(1).outcome == GONE
    scene.gitlab.jobs |= hidden
    scene.gitlab.failing.clear()
    scene.clock.go(60)
    assert scene.reconcile().routed == 1
    assert (scene.job(1).status, scene.job(1).outcome) == (JobStatus.PENDING, None)
    assert [job.key for job in scene.world.jobs.waiting_in("docker")] == [key(1)]
    assert scene.scale().launched == 1
