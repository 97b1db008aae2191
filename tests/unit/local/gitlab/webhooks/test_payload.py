"""The bodies of Job Hooks and Pipeline Hooks, with GitLab's own oddities."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import yaml

from local.gitlab.ci.types import EnvironmentSpec
from local.gitlab.engine import JobEnd
from local.gitlab.model import Job
from local.gitlab.runners import Runners
from local.gitlab.states import Status
from local.gitlab.sweep import sweep
from local.gitlab.webhooks.payload import JobMoment, Json, job_hook, pipeline_hook
from tests.unit.local.gitlab.small_gitlab import (
    SHA,
    SmallGitLab,
    check_shape,
    job_spec,
    runner,
)

BASE = "http://gitlab.example.com:8080"

# The example of the documentation as a shape.
SHAPE = yaml.safe_load("""
object_kind ref before_sha sha build_name build_stage build_status: str
build_created_at build_created_at_iso project_name: str
build_started_at build_finished_at build_started_at_iso build_finished_at_iso: str or null
build_duration build_queued_duration: float or null
retries_count build_id pipeline_id project_id: int
tag build_allow_failure: bool
build_failure_reason environment: str or null
user: {id: int, name username avatar_url email: str}
commit:
  id: int
  sha message author_name author_email author_url status: str
  name started_at finished_at started_at_iso finished_at_iso: str or null
  duration: int or null
repository:
  name url description homepage git_http_url git_ssh_url: str
  visibility_level: int
project:
  id visibility_level: int
  name description web_url git_ssh_url git_http_url namespace path_with_namespace: str
  default_branch: str
  avatar_url ci_config_path: str or null
""")
RUNNER = yaml.safe_load("""
id: int
description runner_type: str
active is_shared: bool
tags: list
""")


def body_of(site: SmallGitLab, job: Job | JobMoment) -> Json:
    """The hook for the job as it is now, decoded from JSON."""
    at = site.clock.now()
    moment = job if isinstance(job, JobMoment) else JobMoment.of(job, at)
    return dict(json.loads(json.dumps(job_hook(moment, base_url=BASE, at=at))))


def first_job(site: SmallGitLab, **rest: Any) -> Job:
    """The only job of a new pipeline."""
    return site.start(job_spec("unit", tags=("ec2",)), **rest).latest["unit"]


def lives(site: SmallGitLab) -> Iterator[Job]:
    """A manual job, then one that is pending, running for 7 s after 3 s, and failed."""
    pipeline = site.start(job_spec("unit"), job_spec("held", when="manual", allow_failure=True))
    job = pipeline.latest["unit"]
    yield pipeline.latest["held"]
    yield job
    site.clock.advance(timedelta(seconds=3))
    site.run(pipeline, "unit")
    yield job
    site.clock.advance(timedelta(seconds=7))
    site.engine.finish(job, JobEnd(status=Status.FAILED, failure_reason="script_failure"))
    yield job


def test_every_event_has_the_documented_keys_and_types() -> None:
    site = SmallGitLab()
    statuses = []
    for job in lives(site):
        body = body_of(site, job)
        statuses.append(body["build_status"])
        taken_by = body.pop("runner")
        check_shape(body, SHAPE, "hook")
        assert (taken_by is not None) is (job.runner is not None)
        if taken_by is not None:
            check_shape(taken_by, RUNNER, "runner")
    assert statuses == ["manual", "pending", "running", "failed"]


def test_durations_are_seconds_and_null_until_they_are_known() -> None:
    site = SmallGitLab()
    bodies = [body_of(site, job) for job in lives(site)]
    durations = [
        (body["build_queued_duration"], body["build_duration"], body["commit"]["duration"])
        for body in bodies
    ]
    assert durations == [(None, None, None), (0.0, None, None), (3.0, 0.0, None), (3.0, 7.0, 7)]
    assert bodies[1]["build_started_at"] is None
    last = bodies[3]
    assert last["build_failure_reason"] == "script_failure"
    assert last["build_created_at"] == "2026-08-20 12:00:00 UTC"
    assert last["build_finished_at"] == "2026-08-20 12:00:10 UTC"
    assert last["build_finished_at_iso"] == "2026-08-20T12:00:10Z"
    shown = ("author_name", "author_email", "message", "status", "started_at", "finished_at_iso")
    assert [last["commit"][name] for name in shown] == [
        *("Dana Roe", "dana@example.com", "Speed up tests\n", "failed"),
        *("2026-08-20 12:00:03 UTC", "2026-08-20T12:00:10Z"),
    ]


def test_values_and_oddities_of_a_pending_job() -> None:
    site = SmallGitLab()
    site.start(job_spec("first"))
    body = body_of(site, first_job(site))
    expected = {
        **{"object_kind": "build", "build_id": 2, "build_name": "unit", "build_stage": "test"},
        **{"ref": "main", "sha": SHA, "before_sha": "0" * 40, "pipeline_id": 2},
        **{"project_name": "Acme / Demo", "build_failure_reason": "unknown_failure"},
    }
    assert {name: body[name] for name in expected} == expected
    assert (body["commit"]["id"], body["commit"]["sha"]) == (2, SHA)  # the pipeline's id
    assert body["project"]["path_with_namespace"] == "acme/demo"
    assert body["user"]["email"] == "[REDACTED]"
    assert not {"tag_list", "timeout"} & set(body)


@pytest.mark.parametrize(("is_public", "level"), [(True, 20), (False, 0)])
def test_a_public_project_is_level_20(is_public: bool, level: int) -> None:
    site = SmallGitLab()
    site.project.is_public = is_public
    body = body_of(site, first_job(site))
    assert body["project"]["visibility_level"] == level
    assert body["repository"]["visibility_level"] == level


@pytest.mark.parametrize(
    ("kind", "paused", "is_shared", "active"),
    [("instance_type", False, True, True), ("group_type", True, False, False)],
)
def test_a_late_pending_event_shows_the_runner_with_its_own_tags(
    kind: str, paused: bool, is_shared: bool, active: bool
) -> None:
    site = SmallGitLab()
    owner = site.project.group if kind == "group_type" else None
    by = runner("small", "ec2", number=31, kind=kind, owner=owner, description="aws-small")
    moment = JobMoment.of(first_job(site), site.clock.now())
    assert site.take(by) is moment.job
    by.paused = paused
    body = body_of(site, moment)
    assert (body["build_status"], body["build_started_at"]) == ("pending", None)
    assert body["commit"]["status"] == "running"
    assert body["runner"] == {
        "id": 31,
        "description": "aws-small",
        "runner_type": kind,
        "active": active,
        "is_shared": is_shared,
        "tags": ["ec2", "small"],
    }


def test_a_job_dropped_without_a_runner_is_a_failed_event_with_runner_null() -> None:
    site = SmallGitLab()
    job = first_job(site)
    site.clock.advance(timedelta(hours=1, seconds=1))
    sweep(site.engine, Runners(site.engine.options))
    body = body_of(site, job)
    assert site.ear.heard_of("unit") == ["created", "pending", "failed"]
    assert (body["build_status"], body["runner"]) == ("failed", None)
    assert body["build_failure_reason"] == "stuck_pending_no_matching_runners"
    assert body["build_started_at"] is None


def test_an_environment_has_a_name_an_action_and_a_tier() -> None:
    site = SmallGitLab()
    spec = job_spec("ship", environment=EnvironmentSpec(name="production"))
    assert body_of(site, site.start(spec).latest["ship"])["environment"] == {
        "name": "production",
        "action": "start",
        "deployment_tier": "production",
    }


def test_a_pipeline_lists_the_newest_job_of_each_name() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("unit", retry=1), job_spec("gate", when="manual"))
    site.end(pipeline, "unit", "failed")
    body = json.loads(json.dumps(pipeline_hook(pipeline, base_url=BASE, at=site.clock.now())))
    assert (body["object_kind"], body["object_attributes"]["id"]) == ("pipeline", pipeline.id)
    builds = {build["name"]: build for build in body["builds"]}
    assert (builds["unit"]["id"], builds["unit"]["status"]) == (3, "pending")
    assert builds["gate"]["manual"]
    assert "tag_list" not in builds["unit"]
    retried = body_of(site, pipeline.latest["unit"])
    assert (retried["build_id"], retried["retries_count"]) == (3, 1)
