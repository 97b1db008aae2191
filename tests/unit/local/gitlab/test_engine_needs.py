"""Jobs that name what they need instead of waiting for their stage."""

from __future__ import annotations

import pytest

from local.gitlab.ci.types import NeedSpec
from tests.unit.local.gitlab.small_gitlab import SmallGitLab, job_spec


def test_a_job_without_needs_starts_at_once_in_any_stage() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("build", "build"), job_spec("docs", "deploy", needs=[]))
    assert site.statuses(pipeline) == {"build": "pending", "docs": "pending"}


def test_a_job_starts_when_what_it_needs_is_done_not_when_the_stage_is() -> None:
    site = SmallGitLab()
    pipeline = site.start(
        job_spec("build a", "build"),
        job_spec("build b", "build"),
        job_spec("test a", needs=["build a"]),
        job_spec("test all"),
    )
    site.end(pipeline, "build a")
    assert site.statuses(pipeline) == {
        "build a": "success",
        "build b": "pending",
        "test a": "pending",
        "test all": "created",
    }


def test_needs_within_one_stage() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("first"), job_spec("second", needs=["first"]))
    assert site.statuses(pipeline)["second"] == "created"
    site.end(pipeline, "first")
    assert site.statuses(pipeline)["second"] == "pending"


@pytest.mark.parametrize(
    ("when", "end", "then"),
    [
        ("on_success", "success", "pending"),
        ("on_success", "failed", "skipped"),
        ("on_failure", "failed", "pending"),
        ("on_failure", "success", "skipped"),
        ("always", "failed", "pending"),
        ("manual", "success", "manual"),
    ],
)
def test_when_together_with_needs(when: str, end: str, then: str) -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("build"), job_spec("next", needs=["build"], when=when))
    site.end(pipeline, "build", end)
    assert pipeline.latest["next"].status == then


def test_a_chain_is_skipped_to_its_end() -> None:
    site = SmallGitLab()
    pipeline = site.start(
        job_spec("a"), job_spec("b", needs=["a"]), job_spec("c", needs=["b"]), job_spec("d")
    )
    site.end(pipeline, "a", "failed")
    assert site.statuses(pipeline) == {
        "a": "failed",
        "b": "skipped",
        "c": "skipped",
        "d": "pending",
    }


def test_all_needs_must_be_done() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("a"), job_spec("b"), job_spec("both", needs=["a", "b"]))
    site.end(pipeline, "a")
    assert site.statuses(pipeline)["both"] == "created"
    site.end(pipeline, "b")
    assert site.statuses(pipeline)["both"] == "pending"


def test_an_optional_need_that_is_not_there_does_not_matter() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("b", needs=[NeedSpec(job="absent", optional=True)]))
    assert site.statuses(pipeline)["b"] == "pending"


def test_needing_an_optional_manual_job_means_being_skipped() -> None:
    site = SmallGitLab()
    pipeline = site.start(
        job_spec("gate", when="manual", allow_failure=True), job_spec("next", needs=["gate"])
    )
    assert site.statuses(pipeline) == {"gate": "manual", "next": "skipped"}


def test_needing_an_allowed_failure_is_fine() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("lint", allow_failure=True), job_spec("next", needs=["lint"]))
    site.end(pipeline, "lint", "failed")
    assert site.statuses(pipeline)["next"] == "pending"


def test_a_later_stage_waits_for_jobs_with_needs_in_earlier_stages_too() -> None:
    site = SmallGitLab()
    pipeline = site.start(
        job_spec("a", "build"),
        job_spec("b", "test", needs=["a"]),
        job_spec("ship", "deploy"),
    )
    site.end(pipeline, "a")
    assert site.statuses(pipeline)["ship"] == "created"
    site.end(pipeline, "b")
    assert site.statuses(pipeline)["ship"] == "pending"
