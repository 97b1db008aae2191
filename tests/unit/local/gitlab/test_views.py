"""REST representations: which fields, which never."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from local.gitlab.api.hook_views import delivery_view, hook_view
from local.gitlab.api.runner_views import group_view, manager_views, runner_detail, runner_view
from local.gitlab.api.views import job_view, pipeline_view, project_view, runner_job_view
from local.gitlab.engine import Engine, Outcome
from local.gitlab.model import Job
from local.gitlab.options import Options
from local.gitlab.runners import NewRunner
from local.gitlab.states import Status
from local.gitlab.webhooks.hooks import Delivery, Hooks
from local.gitlab.world import World
from tests.unit.local.gitlab.small_gitlab import NOON, SHA, SmallGitLab, job_spec, project

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
        self.world = World(folder, options=Options(), base_url=BASE)
        self.world.clock = self.clock
        self.world.ci = self.engine

    def running(self) -> Job:
        """A job on a registered runner."""
        wanted = NewRunner(
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


def test_a_running_job(seen: Seen) -> None:
    job = seen.running()
    seen.clock.advance(timedelta(seconds=3))
    view = job_view(job, seen.world)
    assert (view["duration"], view["queued_duration"]) == (3.0, 2.0)
    assert view["started_at"] == "2026-08-20T12:00:02.000Z"
    assert view["finished_at"] is None
    assert (view["tag_list"], view["runner"]["id"]) == (["ec2"], 1)
    assert view["runner_manager"]["system_id"] == "s_1"
    assert (view["commit"]["id"], view["commit"]["short_id"]) == (SHA, SHA[:8])
    assert view["pipeline"]["status"] == "running"
    assert view["web_url"] == f"{BASE}/acme/demo/-/jobs/1"
    assert "timeout" not in view


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
    seen.engine.finish(job, Outcome(status=Status.SUCCESS))
    view = job_view(job, seen.world)
    assert view["artifacts_file"] == {"filename": "artifacts.zip", "size": 4}
    kinds = [(entry["file_type"], entry["size"]) for entry in view["artifacts"]]
    assert kinds == [("archive", 4), ("trace", 5)]


def test_a_runners_list_shows_the_project_and_no_tags(seen: Seen) -> None:
    view = runner_job_view(seen.running(), seen.world)
    assert (view["project"]["id"], view["project"]["path_with_namespace"]) == (1, "acme/demo")
    assert not {"tag_list", "runner", "runner_manager"} & set(view)


def test_a_pipeline(seen: Seen) -> None:
    job = seen.running()
    seen.clock.advance(timedelta(seconds=5))
    view = pipeline_view(job.pipeline, seen.world)
    assert (view["status"], view["queued_duration"], view["duration"]) == ("running", 2.0, None)
    assert (view["sha"], view["ref"], view["source"]) == (SHA, "main", "push")


def test_a_project(seen: Seen) -> None:
    view = project_view(seen.project, seen.world)
    assert view["path_with_namespace"] == "acme/demo"
    assert view["http_url_to_repo"] == f"{BASE}/acme/demo.git"
    assert (view["visibility"], view["empty_repo"]) == ("private", True)
    assert view["namespace"]["full_path"] == "acme"


def test_a_group(seen: Seen) -> None:
    view = group_view(seen.project.group, seen.world)
    assert (view["full_path"], view["parent_id"]) == ("acme", None)


def test_a_runner_never_shows_its_token(seen: Seen) -> None:
    seen.running()
    for view in (runner_view(seen.runner, seen.world), runner_detail(seen.runner, seen.world)):
        assert seen.runner.token not in json.dumps(view)
        assert "token" not in view


def test_a_runner_in_detail(seen: Seen) -> None:
    seen.running()
    view = runner_detail(seen.runner, seen.world)
    assert (view["tag_list"], view["version"]) == (["docker", "ec2"], "19.4.0")
    assert (view["status"], view["online"], view["is_shared"]) == ("online", True, True)
    assert view["job_execution_status"] == "active"
    assert view["contacted_at"] == "2026-08-20T12:00:00.000Z"


def test_its_machines(seen: Seen) -> None:
    seen.running()
    seen.world.runners.hear(seen.runner, system_id="s_2", info={}, at=seen.clock.now())
    views = manager_views(seen.runner, seen.world)
    assert [view["system_id"] for view in views] == ["s_1", "s_2"]
    (second,) = manager_views(seen.runner, seen.world, only="s_2")
    assert second["contacted_at"] == "2026-08-20T12:00:02.000Z"


def test_a_hook_shows_only_that_it_has_secrets() -> None:
    hook = Hooks().add(project(), "http://127.0.0.1:1/", at=NOON)
    hook.token, hook.signing_token = "hush", "whsec_hush"
    hook.custom_headers = {"X-Key": "hush"}
    view = hook_view(hook, NOON, has_signing_token=True)
    assert (view["token_present"], view["signing_token_present"]) == (True, True)
    assert view["custom_headers"] == [{"key": "X-Key"}]
    assert "hush" not in json.dumps(view)
    older = hook_view(hook, NOON, has_signing_token=False)
    assert "signing_token_present" not in older


def test_a_hook_names_its_owner() -> None:
    demo = project()
    of_project = Hooks().add(demo, "http://127.0.0.1:1/", at=NOON)
    of_group = Hooks().add(demo.group, "http://127.0.0.1:1/", at=NOON)
    assert hook_view(of_project, NOON, has_signing_token=True)["project_id"] == 1
    assert hook_view(of_group, NOON, has_signing_token=True)["group_id"] == 1


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


def test_the_engine_of_a_world_tells_its_hooks(tmp_path: Path) -> None:
    world = World(tmp_path, options=Options(), base_url=BASE)
    assert isinstance(world.ci, Engine)
    assert world.accounts.tokens[world.root_token].user is world.root
    assert world.root.is_admin
