"""REST representations: which fields, which never."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from local.gitlab.api.hook_views import delivery_view
from local.gitlab.api.runner_views import runner_detail, runner_view
from local.gitlab.api.views import job_view
from local.gitlab.engine import JobEnd
from local.gitlab.model import Job
from local.gitlab.options import Options
from local.gitlab.runners import RunnerRequest
from local.gitlab.states import Status
from local.gitlab.webhooks.hooks import Delivery, Hooks
from local.gitlab.world import GitLabWorld
from tests.unit.local.gitlab.small_gitlab import NOON, SmallGitLab, job_spec, project

BASE = "http://127.0.0.1:8929"

# What python-gitlab users find on a job, as the facts list it.
JOB_KEYS = {
    *("id", "name", "stage", "status", "ref", "tag", "allow_failure", "created_at"),
    *("started_at", "finished_at", "erased_at", "duration", "queued_duration"),
    *("failure_reason", "tag_list", "runner", "runner_manager", "user", "commit"),
    *("pipeline", "project", "web_url", "artifacts", "archived"),
}


class Seen(SmallGitLab):
    """A small GitLab with a world around it, for what views look up."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.world = GitLabWorld(folder, options=Options(), base_url=BASE)
        self.world.clock = self.clock
        self.world.ci = self.engine

    def running(self) -> Job:
        """A job on a registered runner."""
        wanted = RunnerRequest(
            runner_type="instance_type", creator=self.user, tags=frozenset({"ec2", "docker"})
        )
        self.runner = self.world.runners.add(wanted, at=NOON)
        self.world.runners.hear(self.runner, system_id="s_1", info={"version": "19.4.0"}, at=NOON)
        pipeline = self.start(job_spec("unit", tags=("ec2",)))
        self.clock.advance(timedelta(seconds=2))
        return self.run(pipeline, "unit")


@pytest.fixture
def seen(tmp_path: Path) -> Seen:
    return Seen(tmp_path)


def test_a_job_has_every_field_and_is_json(seen: Seen) -> None:
    view = job_view(seen.running(), seen.world)
    assert set(view) >= JOB_KEYS
    assert json.loads(json.dumps(view))["status"] == "running"


def test_a_job_of_a_machine_that_was_removed_keeps_its_runner(seen: Seen) -> None:
    job = seen.running()
    seen.runner.managers.clear()
    view = job_view(job, seen.world)
    assert view["runner"]["id"] == 1
    assert view["runner_manager"] is None


def test_the_log_is_listed_when_the_job_is_over(seen: Seen, tmp_path: Path) -> None:
    job = seen.running()
    job.trace += b"hello"
    assert job_view(job, seen.world)["artifacts"] == []
    job.artifacts = tmp_path / "artifacts.zip"
    job.artifacts.write_bytes(b"zip!")
    seen.engine.finish(job, JobEnd(status=Status.SUCCESS))
    view = job_view(job, seen.world)
    assert view["artifacts_file"] == {"filename": "artifacts.zip", "size": 4}
    kinds = [(entry["file_type"], entry["size"]) for entry in view["artifacts"]]
    assert kinds == [("archive", 4), ("trace", 5)]


def test_a_runner_never_shows_its_token(seen: Seen) -> None:
    seen.running()
    for view in (runner_view(seen.runner, seen.world), runner_detail(seen.runner, seen.world)):
        assert seen.runner.token not in json.dumps(view)
        assert "token" not in view


@pytest.mark.parametrize(("status", "shown"), [(200, "200"), (None, "internal error")])
def test_a_delivery_hides_the_secrets_it_carried(status: int | None, shown: str) -> None:
    hook = Hooks().add(project(), "http://127.0.0.1:1/", at=NOON)
    delivery = Delivery(
        id=3,
        trigger="job_events",
        request_headers={"X-Gitlab-Token": "hush", "webhook-signature": "hush", "A": "b"},
        body=b"{}",
        status=status,
        answer="",
        took_s=0.25,
        sent_at=NOON,
    )
    view = delivery_view(delivery, hook)
    assert (view["response_status"], view["execution_duration"]) == (shown, 0.25)
    assert view["request_headers"]["A"] == "b"
    assert "hush" not in json.dumps(view)
