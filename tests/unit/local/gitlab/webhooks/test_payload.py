"""Bodies of Job and Pipeline Hooks, with GitLab's own oddities."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from local.gitlab.ci.types import EnvironmentSpec
from local.gitlab.engine import JobEnd
from local.gitlab.model import Job
from local.gitlab.states import Status
from local.gitlab.webhooks.payload import JobMoment, Json, job_hook, pipeline_hook
from tests.unit.local.gitlab.small_gitlab import NOON, SHA, SmallGitLab, job_spec, runner

BASE = "http://gitlab.example.com:8080"

# Every key GitLab sends in a Job Hook, as the facts list them.
KEYS = {
    *("object_kind", "ref", "tag", "before_sha", "sha", "retries_count", "build_id"),
    *("build_name", "build_stage", "build_status", "build_created_at", "build_started_at"),
    *("build_finished_at", "build_created_at_iso", "build_started_at_iso"),
    *("build_finished_at_iso", "build_duration", "build_queued_duration"),
    *("build_allow_failure", "build_failure_reason", "pipeline_id", "runner", "project_id"),
    *("project_name", "user", "commit", "repository", "project", "environment"),
}


def body_of(site: SmallGitLab, job: Job) -> Json:
    """The hook for the job as it is now, as it arrives: through JSON."""
    at = site.clock.now()
    return dict(json.loads(json.dumps(job_hook(JobMoment.of(job, at), base_url=BASE, at=at))))


def pending(site: SmallGitLab) -> Job:
    return site.start(job_spec("unit", tags=("ec2",))).latest["unit"]


def test_a_pending_job() -> None:
    site = SmallGitLab()
    job = pending(site)
    site.clock.advance(timedelta(seconds=2))
    body = body_of(site, job)
    assert set(body) == KEYS
    assert body["object_kind"] == "build"
    assert (body["build_id"], body["build_name"], body["build_stage"]) == (1, "unit", "test")
    assert body["build_status"] == "pending"
    assert (body["ref"], body["tag"], body["sha"]) == ("main", False, SHA)
    assert body["before_sha"] == "0" * 40
    assert body["build_queued_duration"] == 2.0
    assert body["build_duration"] is None
    assert body["runner"] is None
    assert body["environment"] is None


def test_dates_come_in_two_forms() -> None:
    site = SmallGitLab()
    body = body_of(site, pending(site))
    assert body["build_created_at"] == "2026-08-20 12:00:00 UTC"
    assert body["build_created_at_iso"] == "2026-08-20T12:00:00Z"
    assert (body["build_started_at"], body["build_finished_at_iso"]) == (None, None)


def test_the_oddities() -> None:
    site = SmallGitLab()
    site.start(job_spec("first"))
    body = body_of(site, pending(site))
    assert body["commit"]["id"] == body["pipeline_id"] == 2
    assert body["commit"]["sha"] == SHA
    assert body["project_name"] == "Acme / Demo"
    assert body["project"]["path_with_namespace"] == "acme/demo"
    assert body["build_failure_reason"] == "unknown_failure"
    assert body["user"]["email"] == "[REDACTED]"
    assert "tag_list" not in body
    assert "timeout" not in body


def test_a_created_event_is_blanked_whatever_happened_since() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("gate", when="manual"))
    job = pipeline.latest["gate"]
    job.status = Status.CREATED
    moment = JobMoment.of(job, NOON)
    job.status, job.queued_at, job.runner = Status.RUNNING, NOON, runner("ec2")
    body = job_hook(moment, base_url=BASE, at=NOON + timedelta(seconds=9))
    assert body["build_status"] == "created"
    blank = ("runner", "build_queued_duration", "build_duration", "build_failure_reason")
    assert [body[key] for key in blank] == [None] * 4


def test_a_late_pending_event_already_shows_the_runner() -> None:
    site = SmallGitLab()
    job = pending(site)
    moment = JobMoment.of(job, site.clock.now())
    acme = site.project.group
    site.take(runner("ec2", number=31, description="aws-small", kind="group_type", owner=acme))
    body = job_hook(moment, base_url=BASE, at=site.clock.now())
    assert body["build_status"] == "pending"
    assert body["build_started_at"] is None
    assert body["runner"] == {
        "id": 31,
        "description": "aws-small",
        "runner_type": "group_type",
        "active": True,
        "is_shared": False,
        "tags": ["ec2"],
    }
    assert body["commit"]["status"] == "running"


def test_a_finished_job() -> None:
    site = SmallGitLab()
    job = pending(site)
    site.clock.advance(timedelta(seconds=4))
    assert site.take() is job
    site.clock.advance(timedelta(seconds=3))
    failed = JobEnd(status=Status.FAILED, failure_reason="script_failure", exit_code=1)
    site.engine.finish(job, failed)
    body = body_of(site, job)
    assert body["build_status"] == "failed"
    assert body["build_failure_reason"] == "script_failure"
    assert (body["build_duration"], body["build_queued_duration"]) == (3.0, 4.0)
    assert body["build_finished_at"] == "2026-08-20 12:00:07 UTC"
    assert body["commit"]["status"] == "failed"
    assert body["commit"]["duration"] == 3
    assert body["runner"]["is_shared"]


def test_a_retried_job_counts() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("unit", retry=1))
    site.end(pipeline, "unit", "failed")
    body = body_of(site, pipeline.latest["unit"])
    assert (body["build_id"], body["retries_count"]) == (2, 1)


def test_addresses_are_those_of_the_instance() -> None:
    site = SmallGitLab()
    body = body_of(site, pending(site))
    assert body["repository"]["git_http_url"] == f"{BASE}/acme/demo.git"
    assert body["repository"]["url"] == "git@gitlab.example.com:acme/demo.git"
    assert body["project"]["web_url"] == f"{BASE}/acme/demo"


def test_an_environment_has_a_name_and_an_action() -> None:
    site = SmallGitLab()
    job = site.start(job_spec("ship", environment=EnvironmentSpec(name="production"))).latest[
        "ship"
    ]
    assert body_of(site, job)["environment"] == {
        "name": "production",
        "action": "start",
        "deployment_tier": "production",
    }


@pytest.mark.parametrize(("is_tag", "ref"), [(True, "v1.0"), (False, "feature/x")])
def test_tag_means_a_git_tag(is_tag: bool, ref: str) -> None:
    site = SmallGitLab()
    job = site.start(job_spec("unit"), is_tag=is_tag, ref=ref).latest["unit"]
    body = body_of(site, job)
    assert (body["tag"], body["ref"]) == (is_tag, ref)


def test_a_pipeline_lists_its_latest_jobs() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("unit", retry=1), job_spec("gate", when="manual"))
    site.end(pipeline, "unit", "failed")
    body = pipeline_hook(pipeline, base_url=BASE, at=site.clock.now())
    assert body["object_kind"] == "pipeline"
    assert body["object_attributes"]["id"] == pipeline.id
    builds = {build["name"]: build for build in body["builds"]}
    assert builds["unit"]["id"] == 3
    assert builds["unit"]["status"] == "pending"
    assert builds["gate"]["manual"]
    assert "tag_list" not in builds["unit"]
    assert json.dumps(body)
