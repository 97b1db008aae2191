"""Intended retries, and which pools were too short: written once, read until they are settled."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from adapters.ledger.jobs import JobRows
from adapters.ledger.retries import Intent
from fleet.model import JobKey
from tests.fakes import AT, FakeTable
from tests.unit.fleet.facts import job, key

INTENT = Intent(job=key(1), failure_reason="runner_system_failure")
EVER = AT + timedelta(days=365)


def later(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


@pytest.fixture
def table() -> FakeTable:
    return FakeTable()


@pytest.fixture
def jobs(table: FakeTable) -> JobRows:
    """The rows, with three jobs that wait."""
    rows = JobRows(table)
    for n in (1, 2, 3):
        rows.route(job(n), [], at=AT)
    return rows


class TestRetries:
    """At most one for a job, ever."""

    def test_is_claimed_once(self, jobs: JobRows) -> None:
        assert [jobs.retries.claim(INTENT, at=AT) for _ in range(2)] == [True, False]
        jobs.retries.settle(INTENT.job)
        assert not jobs.retries.claim(INTENT, at=later(60))
        assert jobs.retries.due(before=EVER) == []

    def test_is_not_claimed_for_a_job_that_nobody_knows(
        self, jobs: JobRows, table: FakeTable
    ) -> None:
        before = dict(table.items)
        assert not jobs.retries.claim(replace(INTENT, job=key(9)), at=AT)
        assert table.items == before

    def test_a_claim_does_not_touch_the_job(self, jobs: JobRows) -> None:
        jobs.retries.claim(INTENT, at=AT)
        assert jobs.job(key(1)) == job(1)
        assert len(jobs.waiting_in("docker")) == 3

    def test_is_due_only_when_it_is_older_oldest_first(self, jobs: JobRows) -> None:
        for n, seconds in ((1, 20.5), (2, 10), (3, 20)):
            jobs.retries.claim(replace(INTENT, job=key(n)), at=later(seconds))

        def due(seconds: float) -> list[int]:
            return [one.job.job_id for one in jobs.retries.due(before=later(seconds))]

        assert (due(10), due(10.001), due(20), due(20.25)) == ([], [2], [2], [2, 3])
        assert due(60) == [2, 3, 1]

    def test_that_it_was_cancelled_is_remembered(self, jobs: JobRows) -> None:
        jobs.retries.claim(INTENT, at=AT)
        assert jobs.retries.due(before=EVER) == [replace(INTENT, cancelled=False)]
        jobs.retries.note_cancelled(INTENT.job)
        assert jobs.retries.due(before=EVER) == [replace(INTENT, cancelled=True)]

    def test_a_settled_one_does_not_come_back(self, jobs: JobRows, table: FakeTable) -> None:
        jobs.retries.claim(INTENT, at=AT)
        for _ in range(2):
            jobs.retries.settle(INTENT.job)
        jobs.retries.note_cancelled(INTENT.job)
        assert jobs.retries.due(before=EVER) == []
        assert not any(sk == "retry" for _, sk in table.items)

    def test_one_that_nobody_could_carry_out_is_forgotten_after_a_day(
        self, jobs: JobRows, table: FakeTable
    ) -> None:
        jobs.retries.claim(INTENT, at=AT)
        item = table.items[f"job#{key(1)}", "retry"]
        assert item["ttl"] == int(later(86_400).timestamp())


class TestFits:
    """Pools in which jobs of a name ran out of time."""

    def test_are_remembered_by_project_and_name(self, jobs: JobRows) -> None:
        jobs.fits.note(job(1, name="build: [a b]", project=3, pool="small"))
        jobs.fits.note(job(2, name="build: [a b]", project=3, pool="docker"))
        jobs.fits.note(job(3, name="test", project=3, pool="small"))
        jobs.fits.note(job(3, name="test", project=3, pool="small"))
        told = {"build: [a b]": {"small", "docker"}, "test": {"small"}}
        assert jobs.fits.outgrown(key(1).instance, 3) == told
        for name, pools in told.items():
            assert jobs.fits.outgrew(key(1).instance, 3, name) == pools

    def test_of_another_project_gitlab_or_name_nothing_is_known(self, jobs: JobRows) -> None:
        jobs.fits.note(job(1, name="test", project=3, pool="small"))
        fits, instance = jobs.fits, key(1).instance
        assert fits.outgrew(instance, 3, "tes") == frozenset()
        assert fits.outgrew(instance, 4, "test") == frozenset()
        assert fits.outgrew("gitlab.example.org", 3, "test") == frozenset()
        assert fits.outgrown(instance, 4) == fits.outgrown("gitlab.example.org", 3) == {}

    def test_a_job_without_a_pool_outgrew_none(self, jobs: JobRows) -> None:
        jobs.fits.note(job(1, pool=None))
        assert jobs.fits.outgrown(key(1).instance, 1) == {}


def test_the_retry_of_one_gitlab_is_not_that_of_another(jobs: JobRows) -> None:
    other = JobKey(instance="gitlab.example.org", job_id=1)
    jobs.route(job(1, key=other), [], at=AT)
    assert jobs.retries.claim(INTENT, at=AT)
    assert jobs.retries.claim(replace(INTENT, job=other), at=AT)
    jobs.retries.settle(INTENT.job)
    assert [one.job for one in jobs.retries.due(before=EVER)] == [other]
