"""Where jobs are filed while they are in a state."""

from __future__ import annotations

import pytest

from local.gitlab.states import Status
from tests.unit.local.gitlab.small_gitlab import SmallGitLab, job_spec


def test_a_job_is_filed_under_its_state_and_nowhere_else() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("unit"))
    job = pipeline.latest["unit"]
    index, filed = site.engine.index, site.project.by_status
    assert index.queue.first_for(site.runner) is job
    site.take()
    assert index.queue.first_for(site.runner) is None
    assert index.under_way == {job.id: job}
    assert filed[Status.RUNNING] == {job.id: job}
    assert filed[Status.PENDING] == {}


@pytest.mark.parametrize(
    ("when", "status"), [("manual", Status.MANUAL), ("delayed", Status.SCHEDULED)]
)
def test_states_without_a_runner(when: str, status: Status) -> None:
    site = SmallGitLab()
    job = site.start(job_spec("unit", when=when, start_in_s=60)).latest["unit"]
    assert site.project.by_status[status] == {job.id: job}
    assert site.engine.index.scheduled == ({job.id: job} if when == "delayed" else {})
    assert site.engine.index.queue.kinds() == []


def test_created_jobs_wait_by_stage_unless_they_name_needs() -> None:
    site = SmallGitLab()
    pipeline = site.start(
        job_spec("build", "build"), job_spec("unit"), job_spec("docs", needs=["build"])
    )
    assert pipeline.created["test"] == {2: pipeline.latest["unit"]}
    assert not pipeline.woken


def test_the_end_of_a_job_wakes_those_who_need_it() -> None:
    site = SmallGitLab()
    pipeline = site.start(
        job_spec("a"), job_spec("b", needs=["a"]), job_spec("c", needs=["a"]), job_spec("d")
    )
    job = pipeline.latest["a"]
    site.engine.index.leave(job)
    job.status = Status.SUCCESS
    site.engine.index.enter(job)
    assert list(pipeline.woken) == ["b", "c"]


def test_tallies_follow_the_jobs_and_hold_no_zeros() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("a"), job_spec("b", allow_failure=True))
    assert dict(pipeline.tallies["test"]) == {Status.PENDING: 2}
    site.end(pipeline, "a", "failed")
    site.end(pipeline, "b", "failed")
    assert dict(pipeline.tallies["test"]) == {Status.FAILED: 1, "success_with_warnings": 1}
