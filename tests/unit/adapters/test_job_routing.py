"""Where jobs go: routed once, waiting in order, many at a time and whoever else is at it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta, timezone

import pytest

from adapters.ledger.jobs import KEPT, JobRows
from adapters.ledger.table import Change
from fleet.model import Job, JobKey, JobStatus
from fleet.reasons import Reason
from fleet.steps import Step, StepName
from tests.fakes import AT, FakeTable
from tests.unit.adapters.job_ledger import LATER, NOTHING, ROUTED, Ledger, job
from tests.unit.fleet.facts import key


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


class TestRoute:
    """A pending job and where it goes."""

    def test_is_read_back_as_it_was_written(self, ledger: Ledger) -> None:
        told = job(1, tags=("a", "b"), attempt=2, on_demand=True, pipeline_id=9)
        assert ledger.rows.route(
            told, [ROUTED, Step(at=LATER, name=StepName.EVENT, detail="c")], at=LATER
        )
        row = ledger.rows.row(key(1))
        assert row is not None
        assert row.job == told
        assert row.steps == (ROUTED, Step(at=LATER, name=StepName.EVENT, detail="c"))
        assert row.changed_at == LATER
        assert (row.started_at, row.finished_at, row.failure_reason) == (None, None, None)
        assert ledger.rows.jobs([key(1), key(2)]) == {key(1): told}

    def test_of_an_unknown_job_there_is_no_row(self, ledger: Ledger) -> None:
        assert ledger.rows.row(key(1)) is None
        assert ledger.rows.job(key(1)) is None

    def test_the_same_id_in_another_gitlab_is_another_job(self, ledger: Ledger) -> None:
        ledger.route(job(1))
        elsewhere = JobKey(instance="gitlab.example.org", job_id=1)
        assert ledger.rows.job(elsewhere) is None
        ledger.route(job(1, key=elsewhere))
        assert {one.key for one in ledger.rows.waiting_in("docker")} == {key(1), elsewhere}

    def test_a_second_time_changes_nothing(self, ledger: Ledger) -> None:
        ledger.route(job(1))
        other = job(1, pool="small")
        assert not ledger.rows.route(other, [Step(at=LATER, name=StepName.IGNORED)], at=LATER)
        assert (ledger.waiting_ids("docker"), ledger.waiting_ids("small")) == ([1], [])
        assert ledger.steps(1) == ["routed"]

    @pytest.mark.parametrize("status", [JobStatus.RUNNING, JobStatus.FINISHED])
    def test_a_job_that_is_further_stays_there(self, status: JobStatus, ledger: Ledger) -> None:
        further = job(1, status=status)
        ledger.rows.advance(further, [], at=AT, facts=NOTHING)
        assert not ledger.rows.route(job(1), [ROUTED], at=LATER)
        assert ledger.job(1).status is status
        assert ledger.waiting_ids() == []

    def test_a_job_that_had_no_pool_may_get_one(self, ledger: Ledger) -> None:
        ledger.route(job(1, pool=None, reason=Reason.NO_POOL))
        assert ledger.waiting_ids() == []
        assert ledger.rows.route(job(1), [ROUTED], at=LATER)
        assert ledger.waiting_ids() == [1]
        assert ledger.steps(1) == ["routed", "routed"]

    def test_a_pool_that_is_no_more_hands_its_jobs_over(self, ledger: Ledger) -> None:
        ledger.route(job(1))
        moved = job(1, pool="small", attempt=1)
        for gone in ("large", "docke", "small"):
            assert not ledger.rows.route(moved, [ROUTED], at=LATER, instead_of=gone)
        assert ledger.rows.route(moved, [ROUTED], at=LATER, instead_of="docker")
        assert (ledger.waiting_ids("docker"), ledger.waiting_ids("small")) == ([], [1])

    def test_a_running_job_is_not_handed_over(self, ledger: Ledger) -> None:
        ledger.route(job(1))
        ledger.rows.advance(job(1, status=JobStatus.RUNNING), [], at=AT, facts=NOTHING)
        moved = job(1, pool="small")
        assert not ledger.rows.route(moved, [ROUTED], at=LATER, instead_of="docker")
        assert ledger.job(1).pool == "docker"

    def test_a_new_pool_tries_anew_what_the_old_one_gave_up(self, ledger: Ledger) -> None:
        ledger.route(job(1))
        ledger.rows.demand_again(key(1), 2, ROUTED, given_up=True)
        assert ledger.job(1).given_up
        moved = job(1, pool="small")
        assert ledger.rows.route(moved, [ROUTED], at=LATER, instead_of="docker")
        assert (ledger.job(1).given_up, ledger.job(1).attempt) == (False, 1)

    def test_a_row_is_kept_for_a_month_after_its_last_change(self, ledger: Ledger) -> None:
        ledger.route(job(1))
        (item,) = ledger.table.items.values()
        assert item["ttl"] == int((AT + KEPT).timestamp())
        ledger.rows.advance(job(1, status=JobStatus.RUNNING), [], at=LATER, facts=NOTHING)
        (item,) = ledger.table.items.values()
        assert item["ttl"] == int((LATER + KEPT).timestamp())
        assert timedelta(days=30) == KEPT


class TestWaiting:
    """The jobs of a pool that nobody took."""

    def test_oldest_first_and_then_by_number(self, ledger: Ledger) -> None:
        ledger.route(job(7, waits_s=10), job(10, waits_s=60), job(9, waits_s=60), job(8))
        assert ledger.waiting_ids() == [8, 9, 10, 7]

    def test_oldest_first_whatever_zone_gitlab_tells_the_time_in(self, ledger: Ledger) -> None:
        east = timezone(timedelta(hours=5))
        older = job(1, pending_at=(AT - timedelta(hours=1)).astimezone(east))
        ledger.route(job(2, pending_at=AT), older, job(3, pending_at=AT - timedelta(hours=2)))
        assert ledger.waiting_ids() == [3, 1, 2]

    def test_each_pool_has_its_own(self, ledger: Ledger) -> None:
        ledger.route(job(1), job(2, pool="docker-large"), job(3))
        assert ledger.waiting_ids("docker") == [1, 3]
        assert ledger.waiting_ids("docker-large") == [2]

    def test_are_whole_but_for_their_history(self, ledger: Ledger) -> None:
        told = job(1, tags=("a",), on_demand=True, pipeline_id=9)
        ledger.route(told)
        assert ledger.rows.waiting_in("docker") == (told,)
        ledger.rows.demand_again(key(1), 2, ROUTED, given_up=True)
        assert ledger.rows.waiting_in("docker") == (replace(told, attempt=2, given_up=True),)

    @pytest.mark.parametrize("status", [JobStatus.RUNNING, JobStatus.FINISHED])
    def test_a_job_that_went_on_does_not(self, status: JobStatus, ledger: Ledger) -> None:
        ledger.route(job(1), job(2))
        ledger.rows.advance(job(1, status=status), [], at=AT, facts=NOTHING)
        assert ledger.waiting_ids() == [2]


class Racing(FakeTable):
    """Somebody else is quicker: before each transaction one of these jobs is routed."""

    def __init__(self, *jobs: Job) -> None:
        super().__init__()
        self._jobs = list(jobs)

    def transact(self, changes: Sequence[Change]) -> bool:
        if self._jobs:
            JobRows(self).route(self._jobs.pop(0), [Step(at=AT, name=StepName.FOUND)], at=AT)
        return super().transact(changes)


class TestRouteAll:
    """Many pending jobs of a pipeline at once."""

    @staticmethod
    def route_all(ledger: Ledger, *jobs: Job) -> list[int]:
        steps = {one.key: [ROUTED] for one in jobs}
        return [one.job_id for one in ledger.rows.route_all(jobs, steps, at=AT)]

    def test_more_than_a_transaction_takes(self, ledger: Ledger) -> None:
        ids = list(range(1, 252))
        assert self.route_all(ledger, *(job(n) for n in ids)) == ids
        assert ledger.waiting_ids() == ids

    def test_each_has_its_own_steps(self, ledger: Ledger) -> None:
        names = {1: StepName.FOUND, 2: StepName.RECONCILE_FOUND}
        steps = {key(n): [Step(at=AT, name=name)] for n, name in names.items()}
        ledger.rows.route_all([job(1), job(2)], steps, at=AT)
        assert (ledger.steps(1), ledger.steps(2)) == (["found"], ["reconcile_found"])

    def test_those_that_are_routed_keep_nobody_back(self, ledger: Ledger) -> None:
        ledger.route(job(2))
        running = job(3, status=JobStatus.RUNNING)
        ledger.rows.advance(running, [], at=AT, facts=NOTHING)
        assert self.route_all(ledger, *(job(n) for n in range(1, 6))) == [1, 4, 5]
        assert ledger.steps(2) == ["routed"]
        assert ledger.job(3).status is JobStatus.RUNNING

    @pytest.mark.parametrize("quicker", [(2,), (2, 4)], ids=["once", "again and again"])
    def test_somebody_else_is_quicker_with_some(self, quicker: tuple[int, ...]) -> None:
        ledger = Ledger(Racing(*(job(n) for n in quicker)))
        ours = [n for n in range(1, 6) if n not in quicker]
        assert self.route_all(ledger, *(job(n) for n in range(1, 6))) == ours
        assert ledger.waiting_ids() == [1, 2, 3, 4, 5]
        assert all(ledger.steps(n) == ["found" if n in quicker else "routed"] for n in range(1, 6))

    def test_one_that_had_no_pool_may_get_one(self, ledger: Ledger) -> None:
        ledger.route(job(1, pool=None, reason=Reason.NO_POOL))
        assert self.route_all(ledger, job(1), job(2)) == [1, 2]
        assert ledger.waiting_ids() == [1, 2]
