"""GitLab's own retry, retry by hand, and what becomes of the jobs behind."""

from __future__ import annotations

import pytest

from local.gitlab import actions
from local.gitlab.ci.types import RetrySpec
from local.gitlab.states import Status
from tests.unit.local.gitlab.small_gitlab import SmallGitLab, job_spec, user

INFRASTRUCTURE = RetrySpec(max=2, when=("runner_system_failure", "stuck_or_timeout_failure"))


def test_a_caught_failure_makes_a_new_job_with_a_new_id() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("unit", retry=INFRASTRUCTURE))
    first = site.end(pipeline, "unit", "failed", failure_reason="runner_system_failure")
    second = pipeline.latest["unit"]
    assert first.is_retried
    assert first.status is Status.FAILED
    assert (second.id, second.retries_count, second.status) == (2, 1, Status.PENDING)
    assert second.token != first.token
    assert pipeline.status is Status.PENDING


def test_the_new_job_is_told_to_hooks_from_the_start() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("unit", retry=1))
    site.end(pipeline, "unit", "failed")
    assert site.ear.heard_of("unit") == [
        "created",
        "pending",
        "running",
        "failed",
        "created",
        "pending",
    ]


@pytest.mark.parametrize(
    ("reason", "attempts"),
    [
        pytest.param("runner_system_failure", 3, id="caught: the first and two more"),
        pytest.param("no_updates_running", 3, id="caught by its old family name"),
        pytest.param("script_failure", 1, id="not caught"),
    ],
)
def test_retry_ends_with_its_number(reason: str, attempts: int) -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("unit", retry=INFRASTRUCTURE))
    while site.statuses(pipeline)["unit"] == "pending":
        site.end(pipeline, "unit", "failed", failure_reason=reason)
    assert len(pipeline.jobs) == attempts
    assert pipeline.status is Status.FAILED


def test_later_stages_wait_for_the_new_attempt_and_are_never_skipped() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("build", "build", retry=1), job_spec("unit"))
    site.end(pipeline, "build", "failed")
    assert site.statuses(pipeline)["unit"] == "created"
    site.end(pipeline, "build")
    assert site.statuses(pipeline)["unit"] == "pending"


def test_a_canceled_job_is_not_retried_by_itself() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("unit", retry=2))
    actions.cancel(site.engine, site.run(pipeline, "unit"))
    assert len(pipeline.jobs) == 1


def test_retry_by_hand_brings_skipped_jobs_back() -> None:
    site = SmallGitLab()
    pipeline = site.start(
        job_spec("build", "build"), job_spec("unit"), job_spec("ship", "deploy", needs=["unit"])
    )
    first = site.end(pipeline, "build", "failed")
    assert site.statuses(pipeline)["ship"] == "skipped"
    again = actions.retry(site.engine, first, user=user(7))
    assert (again.id, again.user.id, again.status) == (4, 7, Status.PENDING)
    assert site.statuses(pipeline) == {"build": "pending", "unit": "created", "ship": "created"}
    for name in ("build", "unit", "ship"):
        site.end(pipeline, name)
    assert pipeline.status is Status.SUCCESS


def test_retry_brings_back_jobs_of_the_same_stage_that_need_it() -> None:
    site = SmallGitLab()
    pipeline = site.start(
        job_spec("a"), job_spec("b", needs=["a"]), job_spec("c", needs=["b"]), job_spec("other")
    )
    failed = site.end(pipeline, "a", "failed")
    actions.retry(site.engine, failed, user=site.user)
    assert site.statuses(pipeline) == {
        "a": "pending",
        "b": "created",
        "c": "created",
        "other": "pending",
    }


def test_retry_of_a_success_leaves_what_already_ran() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("build", "build"), job_spec("unit"))
    built = site.end(pipeline, "build")
    site.end(pipeline, "unit")
    actions.retry(site.engine, built, user=site.user)
    assert site.statuses(pipeline) == {"build": "pending", "unit": "success"}
    assert pipeline.status is Status.RUNNING


def test_only_a_finished_job_can_be_retried_and_only_once() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("unit"))
    waiting = pipeline.latest["unit"]
    with pytest.raises(actions.NotPossible, match="not retryable"):
        actions.retry(site.engine, waiting, user=site.user)
    ended = site.end(pipeline, "unit", "failed")
    actions.retry(site.engine, ended, user=site.user)
    with pytest.raises(actions.NotPossible, match="not retryable"):
        actions.retry(site.engine, ended, user=site.user)


def test_retry_of_a_pipeline_repeats_what_failed_or_was_canceled() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("good", "build"), job_spec("bad", "build"), job_spec("unit"))
    site.end(pipeline, "good")
    site.end(pipeline, "bad", "failed")
    actions.retry_pipeline(site.engine, pipeline, user=site.user)
    assert site.statuses(pipeline) == {"good": "success", "bad": "pending", "unit": "created"}


def test_retry_of_a_pipeline_keeps_the_order_of_stages() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("build", "build"), job_spec("unit"))
    actions.cancel_pipeline(site.engine, pipeline)
    assert site.statuses(pipeline) == {"build": "canceled", "unit": "canceled"}
    actions.retry_pipeline(site.engine, pipeline, user=site.user)
    assert site.statuses(pipeline) == {"build": "pending", "unit": "created"}


def test_a_retry_by_hand_does_not_wait_for_earlier_stages() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("build", "build"), job_spec("unit"))
    site.end(pipeline, "build")
    site.end(pipeline, "unit", "failed")
    actions.retry(site.engine, pipeline.latest["build"], user=site.user)
    fresh = actions.retry(site.engine, pipeline.latest["unit"], user=site.user)
    assert fresh.status is Status.PENDING
    assert site.statuses(pipeline) == {"build": "pending", "unit": "pending"}


def test_a_manual_job_that_is_retried_is_not_held_again() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("gate", when="manual"))
    actions.play(site.engine, pipeline.latest["gate"], user=site.user)
    site.end(pipeline, "gate", "failed")
    fresh = actions.retry(site.engine, pipeline.latest["gate"], user=site.user)
    assert (fresh.id, fresh.status, fresh.retries_count) == (2, Status.PENDING, 1)
