"""Job rows: how far a job is only ever grows, and every write may come twice and in any order."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta, timezone

import pytest

from adapters.ledger.jobs import KEPT, JobRows
from adapters.ledger.recent import SHARDS, recent_pk
from adapters.ledger.table import Change
from fleet.errors import Transient
from fleet.model import Job, JobKey, JobStatus
from fleet.reasons import Reason
from fleet.steps import MOST, Step, StepName
from tests.fakes import AT, FakeTable, later
from tests.unit.adapters.job_ledger import FINISHED, LATER, ROUTED, RUNNING, Ledger, job
from tests.unit.fleet.facts import key

TAKEN = Step(at=AT, name=StepName.TAKEN)
NO_POOL = job(1, pool=None, reason=Reason.NO_POOL)
ELSEWHERE = JobKey(instance="gitlab.example.org", job_id=1)
further = pytest.mark.parametrize("status", [RUNNING, FINISHED])


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def waits(reason: Reason) -> Step:
    return Step(at=AT, name=StepName.WAITS, reason=reason)


def test_a_status_only_ever_goes_forward(ledger: Ledger) -> None:
    ledger.route(job(1))
    advanced = [
        ledger.advance(job(1, status=status), TAKEN)
        for status in (RUNNING, RUNNING, FINISHED, RUNNING, FINISHED)
    ]
    assert advanced == [True, False, True, False, False]
    assert ledger.job(1).status is FINISHED
    assert ledger.steps(1) == ["routed", "taken", "taken"]


def test_a_row_says_who_took_the_job_and_what_became_of_it(ledger: Ledger) -> None:
    ledger.route(job(1))
    running = job(1, status=RUNNING, runner_id="rf-docker-1", gitlab_runner_id=31)
    ledger.advance(running, started_at=AT.isoformat(), x=None)
    over = job(1, status=FINISHED, outcome="failed")
    facts = {"finished_at": LATER.isoformat(), "failure_reason": "script_failure"}
    ledger.advance(over, at=LATER, **facts)
    row = ledger.row(1)
    assert (row.job.outcome, row.job.runner_id) == ("failed", "rf-docker-1")
    assert row.job.gitlab_runner_id == 31
    assert (row.started_at, row.finished_at, row.changed_at) == (AT, LATER, LATER)
    assert row.failure_reason == "script_failure"


def test_an_event_keeps_what_routing_wrote(ledger: Ledger) -> None:
    """A webhook knows neither tags nor pool; the row does."""
    ledger.route(job(1, tags=("a",), attempt=3))
    running = job(1, status=RUNNING, tags=(), pool="other", name="x", reason=Reason.TAKEN)
    ledger.advance(running)
    row = ledger.job(1)
    assert (row.tags, row.pool, row.attempt, row.name) == (("a",), "docker", 3, "test")
    assert row.reason is Reason.ROUTED


def test_a_job_without_a_webhook_gets_its_row(ledger: Ledger) -> None:
    assert ledger.advance(job(1, status=RUNNING, tags=("a",), pipeline_id=4), TAKEN)
    row = ledger.job(1)
    assert (row.status, row.tags, row.pipeline_id) == (RUNNING, ("a",), 4)
    assert (row.pool, row.reason) == (None, None), "no pool is known"
    assert [row.job.job_id for row in ledger.rows.recent(5)] == [1]


def test_steps_and_facts_are_added_without_a_status(ledger: Ledger) -> None:
    ledger.route(job(1))
    writes = ledger.table.writes
    ledger.rows.extend(key(1), [])
    assert ledger.table.writes == writes, "nothing to add is no write"
    ledger.rows.extend(key(1), [], machine="i-1")
    assert (ledger.row(1).machine, ledger.steps(1)) == ("i-1", ["routed"])
    steps = [Step(at=LATER, name=StepName.ENDED), Step(at=LATER, name=StepName.GONE)]
    ledger.rows.extend(key(1), steps, torn_down_at=LATER.isoformat(), none=None)
    assert ledger.steps(1) == ["routed", "ended", "gone"]
    assert (ledger.row(1).machine, ledger.row(1).torn_down_at) == ("i-1", LATER)


def test_an_unknown_job_is_left_alone(ledger: Ledger) -> None:
    ledger.rows.extend(key(1), [ROUTED], machine="i-1")
    assert not ledger.rows.demand_again(key(1), 2, ROUTED, given_up=False)
    assert ledger.table.items == {}
    assert (ledger.rows.row(key(1)), ledger.rows.job(key(1))) == (None, None)


def test_many_get_the_step_that_says_launched_or_why_they_wait(ledger: Ledger) -> None:
    ledger.route(job(1), job(2), job(3))
    launched = Step(at=AT, name=StepName.LAUNCHED, reason=Reason.BACKLOG)
    ledger.rows.note_reasons({key(1): launched})
    ledger.rows.note_reasons({key(2): waits(Reason.AT_CEILING), key(3): waits(Reason.PACED)})
    assert [ledger.job(n).reason for n in (1, 2, 3)] == ["backlog", "at_ceiling", "paced"]
    assert (ledger.steps(1), ledger.steps(2)) == (["routed", "launched"], ["routed", "waits"])
    assert ledger.waiting_ids() == [1, 2, 3]


class Fussy(FakeTable):
    """Writes to the row of one job fail."""

    def write(self, change: Change) -> bool:
        if change.pk == f"job#{key(1)}":
            raise Transient(call="dynamodb.UpdateItem")
        return super().write(change)


def test_a_row_that_cannot_be_written_holds_back_no_other(ledger: Ledger) -> None:
    numbers = range(1, 101)
    ledger.route(*(job(n) for n in numbers))
    fussy = Fussy()
    fussy.items = ledger.table.items
    with pytest.raises(Transient):
        JobRows(fussy).note_reasons({key(n): waits(Reason.PACED) for n in numbers})
    noted = [n for n in numbers if ledger.job(n).reason is Reason.PACED]
    assert noted == list(range(2, 101))


def test_an_attempt_is_raised_once_however_many_find_that_the_last_failed(ledger: Ledger) -> None:
    ledger.route(job(1))
    step = Step(at=LATER, name=StepName.DEMAND_SENT, reason=Reason.BOOT_DEADLINE)
    raised = [ledger.rows.demand_again(key(1), n, step, given_up=False) for n in (2, 2, 1)]
    assert raised == [True, False, False]
    assert (ledger.job(1).attempt, ledger.job(1).given_up) == (2, False)
    assert ledger.steps(1) == ["routed", "demand_sent"]
    assert ledger.rows.demand_again(key(1), 3, step, given_up=True)
    assert (ledger.job(1).attempt, ledger.job(1).given_up) == (3, True)


@further
def test_a_job_that_went_on_waits_for_no_attempt_and_in_no_pool(
    status: JobStatus, ledger: Ledger
) -> None:
    ledger.route(job(1), job(2))
    ledger.advance(job(1, status=status))
    assert not ledger.rows.demand_again(key(1), 2, ROUTED, given_up=False)
    assert ledger.waiting_ids() == [2]


RETRY = Step(at=AT, name=StepName.RETRY, reason=Reason.INFRA_RETRY, retry_of=1)


def test_a_retry_avoids_spot_also_before_any_webhook_tells_of_it(ledger: Ledger) -> None:
    retry = job(2, status=JobStatus.CREATED, on_demand=True, pool=None)
    ledger.rows.mark_on_demand(retry, RETRY, at=AT)
    assert (ledger.job(2).status, ledger.job(2).on_demand) == (JobStatus.CREATED, True)
    assert ledger.waiting_ids() == []
    assert [row.job.key for row in ledger.rows.recent(9)] == [key(2)]
    (item,) = ledger.table.items.values()
    assert item["ttl"] > AT.timestamp()
    assert ledger.rows.route(job(2), [ROUTED], at=LATER)
    (waiting_job,) = ledger.rows.waiting_in("docker")
    assert waiting_job.on_demand
    assert ledger.steps(2) == ["retry", "routed"]


def test_a_retry_avoids_spot_when_the_webhook_was_first(ledger: Ledger) -> None:
    ledger.route(job(2, tags=("a",)))
    retry = job(2, status=JobStatus.CREATED, tags=(), pool=None, reason=None)
    ledger.rows.mark_on_demand(retry, RETRY, at=LATER)
    (waiting_job,) = ledger.rows.waiting_in("docker")
    assert (waiting_job.on_demand, waiting_job.status, waiting_job.tags) == (
        True,
        JobStatus.PENDING,
        ("a",),
    )
    assert waiting_job.reason is Reason.ROUTED
    assert ledger.row(2).changed_at == LATER


def test_the_recent_ones_are_newest_first_and_no_more_than_asked_for(ledger: Ledger) -> None:
    def recent(limit: int) -> list[int]:
        return [row.job.job_id for row in ledger.rows.recent(limit)]

    for n in (3, 1, 2):
        ledger.rows.route(job(n), [ROUTED], at=later(n))
    assert recent(2) == [3, 2]
    ledger.advance(job(1, status=RUNNING), at=later(9))
    assert recent(5) == [1, 3, 2]
    assert ledger.rows.recent(5)[1].steps == (), "the index has no histories"


def test_a_burst_spreads_over_partitions_of_recent_ones(ledger: Ledger) -> None:
    for n in range(1, 161):
        ledger.rows.route(job(n), [ROUTED], at=later(n))
    heat = Counter(item["recent_pk"] for item in ledger.table.items.values() if "recent_pk" in item)
    assert len(heat) == SHARDS
    assert max(heat.values()) < 2 * 160 / SHARDS
    assert [row.job.job_id for row in ledger.rows.recent(30)] == list(range(160, 130, -1))


def test_a_step_costs_no_write_in_the_index_of_recent_ones(ledger: Ledger) -> None:
    shard = recent_pk("job", str(key(1)))
    ledger.route(job(1))
    (before,) = ledger.table.query_index("recent", "recent_pk", shard)
    ledger.rows.extend(key(1), [ROUTED])
    (after,) = ledger.table.query_index("recent", "recent_pk", shard)
    assert before == after


def test_a_routed_job_is_read_back_as_it_was_written(ledger: Ledger) -> None:
    routed = job(1, tags=("a", "b"), attempt=2, on_demand=True, pipeline_id=9)
    steps = (ROUTED, Step(at=LATER, name=StepName.EVENT, detail="c"))
    assert ledger.rows.route(routed, steps, at=LATER)
    row = ledger.row(1)
    assert (row.job, row.steps, row.changed_at) == (routed, steps, LATER)
    assert (row.started_at, row.finished_at, row.failure_reason) == (None, None, None)
    assert ledger.rows.jobs([key(1), key(2)]) == {key(1): routed}
    assert ledger.rows.waiting_in("docker") == (routed,)
    ledger.rows.demand_again(key(1), 3, ROUTED, given_up=True)
    assert ledger.rows.waiting_in("docker") == (replace(routed, attempt=3, given_up=True),)


def test_the_same_id_in_another_gitlab_is_another_job(ledger: Ledger) -> None:
    ledger.route(job(1))
    assert ledger.rows.job(ELSEWHERE) is None
    ledger.route(job(1, key=ELSEWHERE))
    assert {waiting_job.key for waiting_job in ledger.rows.waiting_in("docker")} == {
        key(1),
        ELSEWHERE,
    }


def test_a_second_route_changes_nothing(ledger: Ledger) -> None:
    ledger.route(job(1))
    other = job(1, pool="small")
    assert not ledger.rows.route(other, [Step(at=LATER, name=StepName.IGNORED)], at=LATER)
    assert (ledger.waiting_ids("docker"), ledger.waiting_ids("small")) == ([1], [])
    assert ledger.steps(1) == ["routed"]


@further
def test_a_job_that_is_further_stays_there(status: JobStatus, ledger: Ledger) -> None:
    ledger.advance(job(1, status=status))
    assert not ledger.rows.route(job(1), [ROUTED], at=LATER)
    assert ledger.job(1).status is status
    assert ledger.waiting_ids() == []


def test_a_job_that_had_no_pool_may_get_one(ledger: Ledger) -> None:
    ledger.route(NO_POOL)
    assert ledger.waiting_ids() == []
    assert ledger.rows.route(job(1), [ROUTED], at=LATER)
    assert ledger.waiting_ids() == [1]
    assert ledger.steps(1) == ["routed", "routed"]


def test_a_pool_that_is_no_more_hands_over_the_jobs_that_wait(ledger: Ledger) -> None:
    """And the new pool tries anew what the old one gave up."""
    ledger.route(job(1), job(2))
    ledger.rows.demand_again(key(1), 2, ROUTED, given_up=True)
    ledger.advance(job(2, status=RUNNING))

    def moves(job_id: int, gone: str) -> bool:
        moved = job(job_id, pool="small")
        return ledger.rows.route(moved, [ROUTED], at=LATER, instead_of=gone)

    gone = ("large", "docke", "small", "docker")
    assert [moves(1, pool) for pool in gone] == [False, False, False, True]
    assert (ledger.waiting_ids("docker"), ledger.waiting_ids("small")) == ([], [1])
    assert (ledger.job(1).given_up, ledger.job(1).attempt) == (False, 1)
    assert not moves(2, "docker")
    assert ledger.job(2).pool == "docker"


def test_a_row_is_kept_for_a_month_after_its_last_change(ledger: Ledger) -> None:
    def kept_until() -> float:
        (item,) = ledger.table.items.values()
        return float(item["ttl"])

    ledger.route(job(1))
    assert kept_until() == int((AT + KEPT).timestamp())
    ledger.advance(job(1, status=RUNNING), at=LATER)
    assert kept_until() == int((LATER + KEPT).timestamp())
    assert timedelta(days=30) == KEPT


def test_the_waiting_ones_are_oldest_first_in_any_zone_and_then_by_number(ledger: Ledger) -> None:
    east = timezone(timedelta(hours=5))
    ledger.route(job(7, waits_s=10), job(10, waits_s=60), job(9, waits_s=60), job(8))
    ledger.route(job(1, pending_at=(AT - timedelta(days=99)).astimezone(east)))
    ledger.route(job(2, pending_at=AT - timedelta(days=99, hours=1)))
    assert ledger.waiting_ids() == [2, 1, 8, 9, 10, 7]


def test_each_pool_has_its_own_waiting_ones(ledger: Ledger) -> None:
    ledger.route(job(1), job(2, pool="docker-large"), job(3))
    assert ledger.waiting_ids("docker") == [1, 3]
    assert ledger.waiting_ids("docker-large") == [2]


class Racing(FakeTable):
    """Another process is quicker: before each transaction one of these jobs is routed."""

    def __init__(self, *jobs: Job) -> None:
        super().__init__()
        self._jobs = list(jobs)

    def transact(self, changes: Sequence[Change]) -> bool:
        if self._jobs:
            JobRows(self).route(
                self._jobs.pop(0), [Step(at=AT, name=StepName.PIPELINE_READ)], at=AT
            )
        return super().transact(changes)


def route_all(ledger: Ledger, *jobs: Job) -> list[int]:
    """The jobs that were routed, of many at once."""
    steps = {each.key: [ROUTED] for each in jobs}
    return [each.job_id for each in ledger.rows.route_all(jobs, steps, at=AT)]


def test_more_are_routed_than_a_transaction_takes(ledger: Ledger) -> None:
    ids = list(range(1, 252))
    assert route_all(ledger, *(job(n) for n in ids)) == ids
    assert ledger.waiting_ids() == ids


def test_each_of_many_has_its_own_steps(ledger: Ledger) -> None:
    names = {1: StepName.PIPELINE_READ, 2: StepName.RECONCILE_FOUND}
    steps = {key(n): [Step(at=AT, name=name)] for n, name in names.items()}
    ledger.rows.route_all([job(1), job(2)], steps, at=AT)
    assert (ledger.steps(1), ledger.steps(2)) == (["pipeline_read"], ["reconcile_found"])


def test_of_many_those_that_are_routed_keep_no_other_back(ledger: Ledger) -> None:
    ledger.route(NO_POOL, job(2))
    ledger.advance(job(3, status=RUNNING))
    assert route_all(ledger, *(job(n) for n in range(1, 6))) == [1, 4, 5]
    assert ledger.steps(2) == ["routed"]
    assert ledger.job(3).status is RUNNING
    assert ledger.waiting_ids() == [1, 2, 4, 5]


@pytest.mark.parametrize("quicker", [(2,), (2, 4)], ids=["once", "again and again"])
def test_another_process_is_quicker_with_some(quicker: tuple[int, ...]) -> None:
    ledger = Ledger(Racing(*(job(n) for n in quicker)))
    ours = [n for n in range(1, 6) if n not in quicker]
    assert route_all(ledger, *(job(n) for n in range(1, 6))) == ours
    assert ledger.waiting_ids() == [1, 2, 3, 4, 5]
    assert all(
        ledger.steps(n) == ["pipeline_read" if n in quicker else "routed"] for n in range(1, 6)
    )


@pytest.mark.parametrize("history", ["gone wrong", 7, {"a": 1}], ids=["text", "number", "map"])
def test_a_history_that_is_no_list_keeps_nothing_back(ledger: Ledger, history: object) -> None:
    ledger.route(NO_POOL)
    row = f"job#{key(1)}"
    ledger.table.items[row, "job"]["timeline"] = history
    assert route_all(ledger, *(job(n) for n in range(1, 4))) == [1, 2, 3]
    assert ledger.waiting_ids() == [1, 2, 3]
    assert ledger.steps(1) == ["routed"]
    assert ledger.table.unreadable == {f"{row} job"}


def test_a_long_history_stays_within_its_bound(ledger: Ledger) -> None:
    ledger.route(NO_POOL)
    for _ in range(2 * MOST):
        ledger.rows.extend(key(1), [ROUTED])
    for _ in range(MOST - len(ledger.steps(1))):
        ledger.rows.extend(key(1), [ROUTED])
    assert len(ledger.steps(1)) == MOST
    assert route_all(ledger, *(job(n) for n in range(1, 4))) == [1, 2, 3]
    assert len(ledger.steps(1)) <= MOST
