"""Intended retries, and which pools were too short: written once, read until they are settled."""

from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.ledger.fits import Fit
from adapters.ledger.jobs import JobRows
from adapters.ledger.retries import Intent
from fleet.model import JobKey
from fleet.rules.image import Containers
from tests.fakes import AT, FakeTable, later
from tests.unit.fleet.facts import job, key

INTENT = Intent(job=key(1), failure_reason="runner_system_failure")
RUBY = Containers(image="ruby:3", services=True)
EVER = AT + timedelta(days=365)


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

    def test_is_claimed_once_and_does_not_touch_the_job(
        self, jobs: JobRows, table: FakeTable
    ) -> None:
        assert [jobs.retries.claim(INTENT, at=AT) for _ in range(2)] == [True, False]
        assert jobs.job(key(1)) == job(1)
        assert len(jobs.waiting_in("docker")) == 3
        forgotten = table.items[f"job#{key(1)}", "retry"]["ttl"]
        assert forgotten == int(later(86_400).timestamp()), "where it was not carried out"

    def test_is_not_claimed_for_a_job_without_a_row(self, jobs: JobRows, table: FakeTable) -> None:
        before = dict(table.items)
        assert not jobs.retries.claim(replace(INTENT, job=key(9)), at=AT)
        assert table.items == before

    def test_is_due_only_when_it_is_older_oldest_first(self, jobs: JobRows) -> None:
        for n, seconds in ((1, 20.5), (2, 10), (3, 20)):
            jobs.retries.claim(replace(INTENT, job=key(n)), at=later(seconds))

        def due(seconds: float) -> list[int]:
            return [retry.job.job_id for retry in jobs.retries.due(before=later(seconds))]

        assert (due(10), due(10.001), due(20), due(20.25)) == ([], [2], [2], [2, 3])
        assert due(60) == [2, 3, 1]

    def test_that_it_was_cancelled_is_remembered_until_it_is_settled(
        self, jobs: JobRows, table: FakeTable
    ) -> None:
        jobs.retries.claim(INTENT, at=AT)
        assert jobs.retries.due(before=EVER) == [replace(INTENT, cancelled=False)]
        jobs.retries.note_cancelled(INTENT.job)
        assert jobs.retries.due(before=EVER) == [replace(INTENT, cancelled=True)]
        for _ in range(2):
            jobs.retries.settle(INTENT.job)
        jobs.retries.note_cancelled(INTENT.job)
        assert not jobs.retries.claim(INTENT, at=later(60))
        assert jobs.retries.due(before=EVER) == []
        assert not any(sk == "retry" for _, sk in table.items)

    def test_of_one_gitlab_is_not_that_of_another(self, jobs: JobRows) -> None:
        other = JobKey(instance="gitlab.example.org", job_id=1)
        jobs.route(job(1, key=other), [], at=AT)
        assert jobs.retries.claim(INTENT, at=AT)
        assert jobs.retries.claim(replace(INTENT, job=other), at=AT)
        jobs.retries.settle(INTENT.job)
        assert [retry.job for retry in jobs.retries.due(before=EVER)] == [other]


class TestFits:
    """What earlier jobs of a name say of the next one."""

    def test_are_remembered_by_project_and_name(self, jobs: JobRows) -> None:
        jobs.fits.note(job(1, name="build: [a b]", project=3, pool="small"), at=AT)
        jobs.fits.note(job(2, name="build: [a b]", project=3, pool="docker"), at=AT)
        for _ in range(2):
            jobs.fits.note(job(3, name="test", project=3, pool="small"), at=AT)
            jobs.fits.note_containers(job(3, name="test", project=3), RUBY, at=AT)
        fits = {
            "build: [a b]": Fit(outgrew=frozenset({"small", "docker"})),
            "test": Fit(outgrew=frozenset({"small"}), containers=RUBY),
        }
        assert jobs.fits.of_project(key(1).instance, 3, at=AT) == fits
        for name, fit in fits.items():
            assert jobs.fits.of(key(1).instance, 3, name, at=AT) == fit

    def test_of_another_project_gitlab_or_name_nothing_is_known(self, jobs: JobRows) -> None:
        jobs.fits.note(job(1, name="test", project=3, pool="small"), at=AT)
        fits, instance = jobs.fits, key(1).instance
        assert fits.of(instance, 3, "tes", at=AT) == Fit()
        assert fits.of(instance, 4, "test", at=AT) == Fit()
        assert fits.of("gitlab.example.org", 3, "test", at=AT) == Fit()
        assert fits.of_project(instance, 4, at=AT) == {}
        assert fits.of_project("gitlab.example.org", 3, at=AT) == {}

    def test_a_job_without_a_pool_outgrew_none(self, jobs: JobRows) -> None:
        jobs.fits.note(job(1, pool=None), at=AT)
        assert jobs.fits.of_project(key(1).instance, 1, at=AT) == {}

    def test_a_job_that_asks_for_nothing_any_more_is_not_sent_away_again(
        self, jobs: JobRows
    ) -> None:
        small_job = job(1, name="test", project=3, pool="small")
        jobs.fits.note_containers(small_job, Containers(), at=AT)
        assert jobs.fits.of_project(key(1).instance, 3, at=AT) == {}
        jobs.fits.note(small_job, at=AT)
        jobs.fits.note_containers(small_job, RUBY, at=AT)
        jobs.fits.note_containers(small_job, Containers(), at=AT)
        outgrown = Fit(outgrew=frozenset({"small"}))
        assert jobs.fits.of(key(1).instance, 3, "test", at=AT) == outgrown

    def test_are_forgotten_thirty_days_after_the_last_job_of_that_name(
        self, jobs: JobRows, table: FakeTable
    ) -> None:
        named, instance, day_s = job(1, name="test", project=3), key(1).instance, 86_400
        jobs.fits.note_containers(named, RUBY, at=AT)
        jobs.fits.note_containers(named, RUBY, at=later(20 * day_s))
        end = later(50 * day_s)
        assert jobs.fits.of(instance, 3, "test", at=end - timedelta(seconds=1)).containers == RUBY
        assert jobs.fits.of(instance, 3, "test", at=end) == Fit()
        assert table.items[f"fit#{instance}#3", "test"]["ttl"] == int(end.timestamp())
