"""Pipelines by stages: what starts when, who hears of it, and what the pipeline says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from local.gitlab.engine import JobEnd
from local.gitlab.states import ImpossibleTransition, Status
from tests.unit.local.gitlab.small_gitlab import NOON, SmallGitLab, job_spec, runner


def test_the_first_stage_waits_for_runners_and_the_next_for_the_first() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("build", "build"), job_spec("lint", "build"), job_spec("unit"))
    assert site.statuses(pipeline) == {"build": "pending", "lint": "pending", "unit": "created"}
    assert pipeline.status is Status.PENDING


def test_a_stage_starts_when_all_of_the_stage_before_succeeded() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("build", "build"), job_spec("lint", "build"), job_spec("unit"))
    site.end(pipeline, "build")
    assert site.statuses(pipeline)["unit"] == "created"
    site.end(pipeline, "lint")
    assert site.statuses(pipeline)["unit"] == "pending"
    assert str(pipeline.status) == "running"
    site.end(pipeline, "unit")
    assert str(pipeline.status) == "success"


def test_stages_follow_their_order_not_the_order_of_jobs() -> None:
    site = SmallGitLab()
    pipeline = site.start(
        job_spec("ship", "deploy"), job_spec("make", "build"), stages=("build", "test", "deploy")
    )
    assert site.statuses(pipeline) == {"ship": "created", "make": "pending"}


def test_a_failure_skips_what_comes_after_all_the_way() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("build", "build"), job_spec("unit"), job_spec("ship", "deploy"))
    site.end(pipeline, "build", "failed", failure_reason="script_failure")
    assert site.statuses(pipeline) == {"build": "failed", "unit": "skipped", "ship": "skipped"}
    assert pipeline.status is Status.FAILED


def test_an_allowed_failure_does_not_stop_the_pipeline() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("lint", "build", allow_failure=True), job_spec("unit"))
    site.end(pipeline, "lint", "failed")
    site.end(pipeline, "unit")
    assert pipeline.status is Status.SUCCESS


@pytest.mark.parametrize(
    ("exit_code", "status"), [(3, Status.SUCCESS), (4, Status.FAILED), (None, Status.FAILED)]
)
def test_a_failure_is_allowed_by_its_exit_code(exit_code: int | None, status: Status) -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("unit", allow_failure_exit_codes=(3,)))
    job = site.end(pipeline, "unit", "failed", exit_code=exit_code)
    assert pipeline.status is status
    assert job.exit_code == exit_code
    assert job.allow_failure is (exit_code == 3)


def test_on_failure_runs_only_after_a_failure_and_always_in_any_case() -> None:
    site = SmallGitLab()
    jobs = (
        job_spec("unit", "test"),
        job_spec("report", "after", when="on_failure"),
        job_spec("clean", "after", when="always"),
        job_spec("ship", "after"),
    )
    failed = site.start(*jobs)
    site.end(failed, "unit", "failed")
    assert site.statuses(failed) == {
        "unit": "failed",
        "report": "pending",
        "clean": "pending",
        "ship": "skipped",
    }
    site.end(failed, "report")
    site.end(failed, "clean")
    assert failed.status is Status.FAILED
    good = site.start(*jobs)
    site.end(good, "unit")
    assert site.statuses(good) == {
        "unit": "success",
        "report": "skipped",
        "clean": "pending",
        "ship": "pending",
    }


def test_an_optional_manual_job_lets_the_pipeline_end() -> None:
    site = SmallGitLab()
    pipeline = site.start(
        job_spec("gate", "build", when="manual", allow_failure=True), job_spec("unit")
    )
    assert site.statuses(pipeline) == {"gate": "manual", "unit": "pending"}
    site.end(pipeline, "unit")
    assert pipeline.status is Status.SUCCESS


def test_a_blocking_manual_job_holds_the_pipeline() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("gate", "build", when="manual"), job_spec("unit"))
    assert site.statuses(pipeline) == {"gate": "manual", "unit": "created"}
    assert pipeline.status is Status.MANUAL


def test_a_delayed_job_is_scheduled_for_later() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("later", when="delayed", start_in_s=90))
    job = pipeline.latest["later"]
    assert job.status is Status.SCHEDULED
    assert job.scheduled_at == NOON + timedelta(seconds=90)
    assert pipeline.status is Status.SCHEDULED


def test_hooks_hear_of_created_pending_running_and_the_end() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("unit"))
    site.end(pipeline, "unit")
    assert site.ear.heard_of("unit") == ["created", "pending", "running", "success"]
    assert site.ear.pipelines == [Status.PENDING, Status.RUNNING, Status.SUCCESS]


@pytest.mark.parametrize(
    ("rest", "heard"),
    [
        pytest.param({"when": "manual"}, ["created"], id="manual is silent"),
        pytest.param({"when": "delayed", "start_in_s": 5}, ["created"], id="scheduled is silent"),
        pytest.param({"when": "on_failure"}, ["created"], id="skipped is silent"),
        pytest.param({}, ["created", "pending"], id="pending is not"),
    ],
)
def test_silent_states(rest: dict[str, Any], heard: list[str]) -> None:
    site = SmallGitLab()
    site.start(job_spec("one", **rest))
    assert site.ear.heard_of("one") == heard


def test_times_are_kept_from_creation_to_the_end() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("build", "build"), job_spec("unit"))
    site.clock.advance(timedelta(seconds=10))
    job = site.run(pipeline, "build")
    site.clock.advance(timedelta(seconds=5))
    site.engine.finish(job, JobEnd(status=Status.SUCCESS))
    site.clock.advance(timedelta(seconds=100))
    at = site.clock.now()
    assert (job.queued_s(at), job.duration_s(at)) == (10.0, 5.0)
    waiting = pipeline.latest["unit"]
    assert (waiting.queued_s(at), waiting.duration_s(at)) == (100.0, None)
    assert pipeline.started_at == NOON + timedelta(seconds=10)
    assert pipeline.finished_at is None
    site.end(pipeline, "unit")
    assert pipeline.finished_at == at


def test_the_oldest_job_is_taken_first_and_only_once() -> None:
    site = SmallGitLab()
    pipeline = site.start(*(job_spec(name) for name in "abc"))
    taken = [site.take() for _ in range(4)]
    assert [job and job.spec.name for job in taken] == ["a", "b", "c", None]
    assert all(job.status is Status.RUNNING for job in pipeline.jobs.values())


def test_a_taken_job_knows_its_runner_machine_and_timeout() -> None:
    site = SmallGitLab()
    site.start(job_spec("unit"))
    job = site.take()
    assert job is not None
    assert (job.runner, job.system_id) == (site.runner, "s_1")
    assert site.runner.jobs == {job.id: job}
    assert job.heard_at == NOON


@pytest.mark.parametrize(
    ("job_s", "project_s", "runner_s", "expected"),
    [
        pytest.param(None, 3600, None, 3600, id="the project's"),
        pytest.param(600, 3600, None, 600, id="the job's own"),
        pytest.param(7200, 3600, None, 7200, id="the job's own may be longer than the project's"),
        pytest.param(7200, 3600, 840, 840, id="never longer than the runner's"),
        pytest.param(None, 3600, 840, 840, id="the runner's below the project's"),
        pytest.param(60, 3600, 840, 60, id="the shortest"),
    ],
)
def test_timeout(job_s: int | None, project_s: int, runner_s: int | None, expected: int) -> None:
    site = SmallGitLab()
    site.project.build_timeout_s = project_s
    site.start(job_spec("unit", timeout_s=job_s))
    job = site.take(runner(maximum_timeout_s=runner_s))
    assert job is not None
    assert job.timeout_s == expected
    assert isinstance(job.timeout_s, int)


def test_a_failure_without_a_reason_is_unknown_and_a_success_has_none() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("bad"), job_spec("good"))
    assert site.end(pipeline, "bad", "failed").failure_reason == "unknown_failure"
    assert site.end(pipeline, "good").failure_reason is None


def test_a_job_cannot_end_twice() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("unit"))
    job = site.end(pipeline, "unit")
    with pytest.raises(ImpossibleTransition, match=r"job 1 cannot go from success to failed"):
        site.engine.finish(job, JobEnd(status=Status.FAILED))


def test_job_tokens_are_unique_long_and_lead_to_their_job() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("a"), job_spec("b"))
    for job in pipeline.jobs.values():
        prefix, secret = job.token.split("_")
        assert prefix == "glcbt-64"
        assert len(secret) == 20
        assert site.engine.job_by_token(job.token) is job
    assert site.engine.job_by_token("glcbt-64_nobody") is None


def test_an_unreadable_ci_file_makes_a_failed_pipeline_without_jobs() -> None:
    site = SmallGitLab()
    pipeline = site.engine.add_broken_pipeline(site.request(), "line 3: unknown key")
    assert pipeline.status is Status.FAILED
    assert pipeline.yaml_errors == "line 3: unknown key"
    assert site.project.pipelines == {pipeline.id: pipeline}
    assert not pipeline.jobs


def test_a_skipped_pipeline_has_no_jobs_either() -> None:
    site = SmallGitLab()
    pipeline = site.engine.add_skipped_pipeline(site.request())
    assert (pipeline.status, pipeline.jobs) == (Status.SKIPPED, {})


def test_ids_count_over_the_instance_and_iids_in_the_project() -> None:
    site = SmallGitLab()
    first, second = site.start(job_spec("a")), site.start(job_spec("a"))
    assert (first.id, second.id, second.iid) == (1, 2, 2)
    assert [job.id for job in site.project.jobs.values()] == [1, 2]
    assert site.engine.next_pipeline_id == 3


def test_a_thousand_jobs_in_two_stages_settle_quickly() -> None:
    site = SmallGitLab()
    stages = ("one", "two")
    jobs = [job_spec(f"{stage} {n}", stage) for stage in stages for n in range(500)]
    pipeline = site.start(*jobs, stages=stages)
    ended = 0
    while (job := site.take()) is not None:
        site.engine.finish(job, JobEnd(status=Status.SUCCESS))
        ended += 1
    assert ended == 1000
    assert pipeline.status is Status.SUCCESS
