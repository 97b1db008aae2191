"""Cancel and play, on jobs and on pipelines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from local.gitlab import actions
from local.gitlab.engine import JobEnd
from local.gitlab.model import RunnerManager
from local.gitlab.options import Options
from local.gitlab.states import Status
from tests.unit.local.gitlab.small_gitlab import NOON, SmallGitLab, commit, job_spec, user

NEWER = replace(commit(), sha="5" * 40)
GRACEFUL = Options(cancels_gracefully=True)


def capable(site: SmallGitLab) -> SmallGitLab:
    """Let the site's runner know how to cancel gracefully."""
    site.runner.managers["s_1"] = RunnerManager(
        id=1, system_id="s_1", created_at=NOON, cancels_gracefully=True
    )
    return site


def test_a_canceled_pending_job_is_gone_from_the_queue() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("unit"), job_spec("next", "deploy"))
    actions.cancel(site.engine, pipeline.latest["unit"])
    assert site.take() is None
    assert site.statuses(pipeline) == {"unit": "canceled", "next": "skipped"}
    assert pipeline.status is Status.CANCELED
    assert site.ear.heard_of("unit") == ["created", "pending", "canceled"]


def test_a_running_job_is_canceled_at_once_on_older_gitlab() -> None:
    site = capable(SmallGitLab())
    pipeline = site.start(job_spec("unit"))
    job = site.run(pipeline, "unit")
    actions.cancel(site.engine, job)
    assert job.status is Status.CANCELED
    assert job.finished_at == NOON


def test_a_running_job_is_canceling_until_its_runner_reports() -> None:
    site = capable(SmallGitLab(GRACEFUL))
    pipeline = site.start(job_spec("unit"))
    job = site.run(pipeline, "unit")
    actions.cancel(site.engine, job)
    assert (job.status, pipeline.status) == (Status.CANCELING, Status.CANCELING)
    site.engine.finish(job, JobEnd(status=Status.FAILED, failure_reason="script_failure"))
    assert (job.status, job.failure_reason) == (Status.CANCELED, None)
    assert site.ear.heard_of("unit") == ["created", "pending", "running", "canceled"]


def test_a_runner_that_cannot_do_it_is_canceled_at_once() -> None:
    site = SmallGitLab(GRACEFUL)
    job = site.run(site.start(job_spec("unit")), "unit")
    actions.cancel(site.engine, job)
    assert job.status is Status.CANCELED


def test_force_ends_a_job_that_is_stuck_in_canceling() -> None:
    site = capable(SmallGitLab(GRACEFUL))
    job = site.run(site.start(job_spec("unit")), "unit")
    actions.cancel(site.engine, job)
    actions.cancel(site.engine, job)
    assert job.status == "canceling"
    actions.cancel(site.engine, job, force=True)
    assert job.status == "canceled"


@pytest.mark.parametrize("end", ["success", "failed"])
def test_cancel_leaves_a_finished_job_alone(end: str) -> None:
    site = SmallGitLab()
    job = site.end(site.start(job_spec("unit")), "unit", end)
    actions.cancel(site.engine, job)
    assert job.status == end


def test_cancel_of_a_pipeline_ends_everything_and_starts_nothing() -> None:
    site = SmallGitLab()
    pipeline = site.start(
        job_spec("build", "build"),
        job_spec("gate", "build", when="manual", allow_failure=True),
        job_spec("later", "build", when="delayed", start_in_s=60),
        job_spec("unit"),
        job_spec("clean", "after", when="always"),
    )
    site.run(pipeline, "build")
    actions.cancel_pipeline(site.engine, pipeline)
    assert site.statuses(pipeline) == {
        "build": "canceled",
        "gate": "manual",
        "later": "canceled",
        "unit": "canceled",
        "clean": "canceled",
    }
    assert pipeline.status is Status.CANCELED
    assert not site.engine.index.scheduled


def test_cancel_of_a_pipeline_is_graceful_where_it_can_be() -> None:
    site = capable(SmallGitLab(GRACEFUL))
    pipeline = site.start(job_spec("build", "build"), job_spec("unit"))
    site.run(pipeline, "build")
    actions.cancel_pipeline(site.engine, pipeline)
    assert site.statuses(pipeline) == {"build": "canceling", "unit": "canceled"}


def test_play_sends_a_manual_job_to_the_queue_in_the_players_name() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("gate", when="manual"))
    gate = pipeline.latest["gate"]
    actions.play(site.engine, gate, user=user(9))
    assert (gate.status, gate.user.id) == (Status.PENDING, 9)
    assert site.ear.heard_of("gate") == ["created", "pending"]


def test_play_does_not_wait_for_a_delay() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("later", when="delayed", start_in_s=3600))
    actions.play(site.engine, pipeline.latest["later"], user=site.user)
    assert site.statuses(pipeline)["later"] == "pending"
    assert not site.engine.index.scheduled


def test_only_a_waiting_manual_job_can_be_played() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("unit"))
    with pytest.raises(actions.NotPossible, match="Unplayable"):
        actions.play(site.engine, pipeline.latest["unit"], user=site.user)


@pytest.mark.parametrize(
    ("interruptible", "running", "older"),
    [
        pytest.param(False, False, Status.CANCELED, id="nothing began"),
        pytest.param(False, True, Status.RUNNING, id="a job that may not be interrupted began"),
        pytest.param(True, True, Status.CANCELED, id="what began may be interrupted"),
    ],
)
def test_a_newer_pipeline_makes_older_ones_redundant(
    interruptible: bool, running: bool, older: Status
) -> None:
    site = SmallGitLab()
    first = site.start(job_spec("unit", interruptible=interruptible))
    if running:
        site.run(first, "unit")
    second = site.start(job_spec("unit"), commit=NEWER)
    actions.cancel_redundant(site.engine, second)
    assert (first.status, second.status) == (older, Status.PENDING)


@pytest.mark.parametrize(
    ("of_newest", "setting"),
    [
        ({"ref": "feature", "commit": NEWER}, True),  # of another branch
        ({}, True),  # of the same commit
        ({"commit": NEWER}, False),
    ],
)
def test_what_is_not_redundant_stays(of_newest: dict[str, Any], setting: bool) -> None:
    site = SmallGitLab()
    site.project.cancels_redundant = setting
    older = site.start(job_spec("unit"))
    actions.cancel_redundant(site.engine, site.start(job_spec("unit"), **of_newest))
    assert older.status is Status.PENDING


def test_an_older_pipelines_newer_sibling_is_not_redundant() -> None:
    site = SmallGitLab()
    older, newer = site.start(job_spec("unit")), site.start(job_spec("unit"), commit=NEWER)
    actions.cancel_redundant(site.engine, older)
    assert newer.status is Status.PENDING


@pytest.mark.parametrize(
    ("word", "left"),
    [
        ("conservative", ["running", "pending", "pending", "created"]),
        ("interruptible", ["running", "canceled", "pending", "canceled"]),
        ("none", ["running", "pending", "pending", "created"]),
    ],
)
def test_where_a_job_began_for_good_the_pipeline_says_what_is_canceled(
    word: str, left: list[str]
) -> None:
    site = SmallGitLab()
    older = site.start(
        job_spec("kept", tags=("ec2",)),
        job_spec("gives way", tags=("ec2",), interruptible=True),
        job_spec("waits", tags=("ec2",)),
        job_spec("later", "deploy", interruptible=True),
    )
    older.cancels_on_new_commit = word
    site.run(older, "kept")
    actions.cancel_redundant(site.engine, site.start(job_spec("unit"), commit=NEWER))
    assert list(site.statuses(older).values()) == left


@pytest.mark.parametrize(
    ("word", "rest", "other"),
    [
        ("all", {}, "canceled"),
        ("none", {}, "pending"),
        ("all", {"allow_failure": True}, "pending"),
        ("all", {"retry": 1}, "pending"),
    ],
)
def test_a_failed_job_cancels_the_rest_where_the_pipeline_says_so(
    word: str, rest: dict[str, Any], other: str
) -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("unit", tags=("ec2",), **rest), job_spec("other", tags=("ec2",)))
    pipeline.cancels_on_job_failure = word
    job = site.end(pipeline, "unit", "failed")
    actions.cancel_after_failure(site.engine, job)
    assert site.statuses(pipeline)["other"] == other


def test_what_cannot_be_done_is_said_in_gitlabs_words() -> None:
    site = SmallGitLab()
    job = site.start(job_spec("unit")).latest["unit"]
    with pytest.raises(actions.NotPossible, match=r"^400 Bad request - Unplayable Job$"):
        actions.play(site.engine, job, user=site.user)
    with pytest.raises(actions.NotPossible, match=r"^403 Forbidden - Job is not retryable$"):
        actions.retry(site.engine, job, user=site.user)
