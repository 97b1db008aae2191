"""A signed event is a hint: it freezes no job, and proves nothing of another project's."""

import json

import pytest

from adapters.gitlab.values import GitLabJob
from fleet.errors import BadDelivery
from fleet.hook_scope import HookScope
from fleet.job_event import JobEvent
from fleet.model import JobStatus
from fleet.reasons import Reason
from fleet.webhook_secrets import WebhookSecrets, webhook_name
from tests.unit.orchestrator.scene import INSTANCE, PROJECT, Scene, described
from tests.unit.orchestrator.test_reconcile import watching
from tests.unit.webhook.deliveries import AT, TOKEN, encoded, with_token
from webhook.delivery import read_delivery

STRANGER = 8  # another project
EARLIER = ["running", "success", "failed", "canceled", "skipped"]


# A job that is yet to come


@pytest.mark.parametrize("status", EARLIER)
@pytest.mark.parametrize("project", [PROJECT, STRANGER])
def test_a_forged_event_of_a_future_job_does_not_freeze_it(status: str, project: int) -> None:
    scene = Scene()
    scene.settle(1, status, project_id=project, runner_id=4711)
    scene.push(1)
    assert scene.route(1).wake
    job = scene.job(1)
    assert (job.status, job.pool, job.project_id) == (JobStatus.PENDING, "docker", PROJECT)
    assert (job.outcome, job.runner_id, job.gitlab_runner_id) == (None, None, None)
    assert not job.is_hearsay
    assert scene.scale().launched == 1


@pytest.mark.parametrize("status", EARLIER)
def test_reconcile_routes_it_where_its_own_webhook_is_lost(status: str) -> None:
    scene = watching(PROJECT)
    scene.settle(1, status, project_id=STRANGER)
    scene.push(1)
    scene.reconcile()
    assert (scene.job(1).status, scene.job(1).project_id) == (JobStatus.PENDING, PROJECT)
    assert scene.scale().launched == 1


def test_a_genuine_event_goes_before_an_earlier_one_of_another_project() -> None:
    scene = Scene()
    scene.settle(1, "success", project_id=STRANGER)
    scene.push(1)
    scene.settle(1, "running", runner_id=4711)
    assert (scene.job(1).project_id, scene.job(1).status) == (PROJECT, JobStatus.RUNNING)


# A job that waits or runs


@pytest.mark.parametrize("status", EARLIER)
def test_an_event_of_another_project_changes_no_row(status: str) -> None:
    scene = Scene()
    scene.waits(1)
    before = scene.row(1)
    assert scene.settle(1, status, project_id=STRANGER).reason is Reason.FOREIGN
    assert scene.route(1, project_id=STRANGER).reason is Reason.FOREIGN
    assert scene.row(1) == before


def test_an_event_of_another_project_does_not_end_a_running_job() -> None:
    scene = Scene()
    runner = scene.runs(1)
    for round_ in range(4):
        scene.settle(
            1,
            "failed",
            round_=round_,
            project_id=STRANGER,
            runner_id=runner.gitlab_runner_id,
            runner_description=described(runner),
            failure_reason="runner_system_failure",
        )
    assert (scene.job(1).status, scene.backend.ended) == (JobStatus.RUNNING, [])
    assert "retry_job" not in scene.gitlab.calls


@pytest.mark.parametrize("status", EARLIER)
def test_a_job_that_gitlab_lists_as_pending_is_routed_after_any_event(status: str) -> None:
    """A leaked secret of the job's own project."""
    scene = watching(PROJECT)
    scene.waits(1)
    scene.settle(1, status, runner_id=4711)
    assert scene.job(1).status > JobStatus.PENDING
    scene.clock.go(20)
    scene.reconcile()  # GitLab's list may be older than a genuine event
    assert scene.job(1).status > JobStatus.PENDING
    scene.clock.go(60)
    assert scene.reconcile().wake
    job = scene.job(1)
    assert (job.status, job.pool, job.outcome) == (JobStatus.PENDING, "docker", None)
    assert Reason.STILL_PENDING in {step.reason for step in scene.row(1).steps}
    assert scene.scale().launched == 1
    scene.clock.go(60)
    scene.reconcile()
    assert scene.steps(1).count("routed") == 2


def test_a_jobs_project_has_the_path_that_gitlab_says() -> None:
    """A budget is found by it: an event that names another path would spend another's, or none."""
    scene = Scene()
    for job_id in (1, 2):
        scene.push(job_id, web_url=f"https://{INSTANCE}/acme/demo/-/jobs/{job_id}")
    scene.route(1, project_path="rich/uncle")
    assert scene.job(1).project_path == scene.job(2).project_path == "acme/demo"


@pytest.mark.parametrize(
    ("gitlab", "web_url", "path"),
    [
        ("https://a.b", "https://a.b/acme/demo/-/jobs/1", "acme/demo"),
        ("https://a.b/git/", "https://a.b/git/acme/demo/-/jobs/1", "acme/demo"),
        ("http://10.0.0.1", "https://a.b/acme/-/jobs/-/jobs/1", "acme"),
        ("https://a.b", "", ""),
        ("https://a.b", "https://a.b/acme/demo", ""),
    ],
)
def test_the_path_stands_in_a_jobs_address(gitlab: str, web_url: str, path: str) -> None:
    job = GitLabJob(id=1, project_id=7, name="a", status="pending", web_url=web_url)
    assert job.project_path(gitlab) == path


# The webhook's own scope


def proven_by(scope: HookScope, project_id: int) -> JobEvent:
    """A delivery about a job of a project, proven by the secret of a webhook on `scope`."""
    secrets = {webhook_name(scope, "https://fleet/webhook"): WebhookSecrets(tokens=(TOKEN,))}
    body = encoded(project_id=project_id)
    event = read_delivery(with_token(), body, secrets=secrets, at=AT)
    assert isinstance(event, JobEvent)
    return event


def test_a_project_s_secret_proves_nothing_of_another_project() -> None:
    own = HookScope(kind="project", id=PROJECT)
    assert proven_by(own, PROJECT).project_id == PROJECT
    with pytest.raises(BadDelivery) as refused:
        proven_by(own, STRANGER)
    assert refused.value.status == 403
    assert str(PROJECT) not in json.dumps(str(refused.value))


def test_the_door_knows_no_groups() -> None:
    """Which projects a group has is GitLab's to say: route and settle ask it (test_hook_reach)."""
    assert proven_by(HookScope(kind="group", id=1), STRANGER).project_id == STRANGER
