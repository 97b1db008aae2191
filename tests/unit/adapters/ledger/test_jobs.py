"""Job rows: how far a job is only ever grows, and every write may come twice and in any order."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from adapters.ledger.jobs import KEPT, JobRows
from adapters.ledger.recent import SHARDS, recent_pk
from adapters.ledger.table import Change
from fleet.errors import Transient
from fleet.model import Job, JobKey, JobStatus
from fleet.reasons import Reason
from fleet.steps import MOST, Step, StepName
from tests.fakes import AT, FakeTable
from tests.unit.adapters.job_ledger import LATER, NOTHING, ROUTED, Ledger, job
from tests.unit.fleet.facts import key


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


class TestAdvance:
    """Running and finished."""

    def test_only_ever_forward(self, ledger: Ledger) -> None:
        ledger.route(job(1))
        running, over = job(1, status=JobStatus.RUNNING), job(1, status=JobStatus.FINISHED)
        steps = [Step(at=LATER, name=StepName.TAKEN)]
        told = [
            ledger.rows.advance(one, steps, at=LATER, facts=NOTHING)
            for one in (running, running, over, running, over)
        ]
        assert told == [True, False, True, False, False]
        assert ledger.job(1).status is JobStatus.FINISHED
        assert ledger.steps(1) == ["routed", "taken", "taken"]

    def test_says_who_took_it_and_what_became_of_it(self, ledger: Ledger) -> None:
        ledger.route(job(1))
        running = job(1, status=JobStatus.RUNNING, runner_id="rf-docker-1", gitlab_runner_id=31)
        ledger.rows.advance(running, [], at=AT, facts={"started_at": AT.isoformat(), "x": None})
        over = job(1, status=JobStatus.FINISHED, outcome="failed")
        facts = {"finished_at": LATER.isoformat(), "failure_reason": "script_failure"}
        ledger.rows.advance(over, [], at=LATER, facts=facts)
        row = ledger.rows.row(key(1))
        assert row is not None
        assert (row.job.outcome, row.job.runner_id) == ("failed", "rf-docker-1")
        assert row.job.gitlab_runner_id == 31
        assert (row.started_at, row.finished_at, row.changed_at) == (AT, LATER, LATER)
        assert row.failure_reason == "script_failure"

    def test_keeps_what_routing_wrote(self, ledger: Ledger) -> None:
        """A webhook knows neither tags nor pool; the row does."""
        ledger.route(job(1, tags=("a",), attempt=3))
        told = job(1, status=JobStatus.RUNNING, tags=(), pool="other", name="x", attempt=1)
        ledger.rows.advance(replace(told, reason=Reason.TAKEN), [], at=AT, facts=NOTHING)
        found = ledger.job(1)
        assert (found.tags, found.pool, found.attempt, found.name) == (("a",), "docker", 3, "test")
        assert found.reason is Reason.ROUTED

    def test_a_job_that_no_webhook_told_of_gets_its_row(self, ledger: Ledger) -> None:
        told = job(1, status=JobStatus.RUNNING, tags=("a",), pipeline_id=4)
        assert ledger.rows.advance(told, [Step(at=AT, name=StepName.TAKEN)], at=AT, facts=NOTHING)
        found = ledger.job(1)
        assert (found.status, found.tags, found.pipeline_id) == (JobStatus.RUNNING, ("a",), 4)
        assert (found.pool, found.reason) == (None, None), "nobody routed it"
        assert [row.job.job_id for row in ledger.rows.recent(5)] == [1]


class TestTell:
    """Steps and facts beside the status."""

    def test_adds_to_the_history(self, ledger: Ledger) -> None:
        ledger.route(job(1))
        steps = [Step(at=LATER, name=StepName.ENDED), Step(at=LATER, name=StepName.GONE)]
        ledger.rows.tell(key(1), steps, machine="i-1", torn_down_at=LATER.isoformat(), none=None)
        row = ledger.rows.row(key(1))
        assert row is not None
        assert ledger.steps(1) == ["routed", "ended", "gone"]
        assert (row.machine, row.torn_down_at) == ("i-1", LATER)

    def test_facts_alone_add_no_step(self, ledger: Ledger) -> None:
        ledger.route(job(1))
        ledger.rows.tell(key(1), [], machine="i-1")
        row = ledger.rows.row(key(1))
        assert row is not None
        assert (row.machine, len(row.steps)) == ("i-1", 1)

    def test_nothing_to_tell_is_no_write(self, ledger: Ledger) -> None:
        ledger.route(job(1))
        before = ledger.table.writes
        ledger.rows.tell(key(1), [])
        assert ledger.table.writes == before

    def test_an_unknown_job_is_left_alone(self, ledger: Ledger) -> None:
        ledger.rows.tell(key(1), [ROUTED], machine="i-1")
        assert ledger.table.items == {}


class Fussy(FakeTable):
    """Writes to the row of one job fail."""

    def write(self, change: Change) -> bool:
        if change.pk == f"job#{key(1)}":
            raise Transient(call="dynamodb.UpdateItem")
        return super().write(change)


class TestMany:
    """Why each of many jobs waits, or that it is served."""

    def test_launched_for(self, ledger: Ledger) -> None:
        ledger.route(job(1), job(2), job(3))
        ledger.rows.launched(
            {key(n): Step(at=AT, name=StepName.LAUNCHED, reason=Reason.BACKLOG) for n in (1, 2)}
        )
        assert [ledger.job(n).reason for n in (1, 2, 3)] == ["backlog", "backlog", "routed"]
        assert ledger.steps(2) == ["routed", "launched"]

    def test_held(self, ledger: Ledger) -> None:
        ledger.route(job(1), job(2))
        reasons = {key(1): Reason.AT_CEILING, key(2): Reason.PACED}
        ledger.rows.hold(
            {k: Step(at=AT, name=StepName.WAITS, reason=r) for k, r in reasons.items()}
        )
        assert {k: ledger.job(k.job_id).reason for k in reasons} == reasons
        assert ledger.waiting_ids() == [1, 2]

    def test_one_that_cannot_be_told_keeps_no_other_from_being_told(self) -> None:
        table = FakeTable()
        Ledger(table).route(*(job(n) for n in range(1, 101)))
        fussy = Fussy()
        fussy.items = table.items
        ledger = Ledger(fussy)
        step = Step(at=AT, name=StepName.WAITS, reason=Reason.PACED)
        with pytest.raises(Transient):
            ledger.rows.hold({key(n): step for n in range(1, 101)})
        told = [n for n in range(1, 101) if ledger.job(n).reason is Reason.PACED]
        assert told == list(range(2, 101))


class TestDemandAgain:
    """One more attempt, however many find that the last one failed."""

    def test_is_raised_once(self, ledger: Ledger) -> None:
        ledger.route(job(1))
        step = Step(at=LATER, name=StepName.DEMAND_SENT, reason=Reason.BOOT_DEADLINE)
        told = [ledger.rows.demand_again(key(1), 2, step, given_up=False) for _ in range(2)]
        assert told == [True, False]
        assert (ledger.job(1).attempt, ledger.job(1).given_up) == (2, False)
        assert ledger.steps(1) == ["routed", "demand_sent"]
        assert not ledger.rows.demand_again(key(1), 1, step, given_up=False)
        assert ledger.rows.demand_again(key(1), 3, step, given_up=True)
        assert (ledger.job(1).attempt, ledger.job(1).given_up) == (3, True)

    @pytest.mark.parametrize("status", [JobStatus.RUNNING, JobStatus.FINISHED])
    def test_not_for_a_job_that_went_on(self, status: JobStatus, ledger: Ledger) -> None:
        ledger.route(job(1))
        ledger.rows.advance(job(1, status=status), [], at=AT, facts=NOTHING)
        assert not ledger.rows.demand_again(key(1), 2, ROUTED, given_up=False)

    def test_not_for_a_job_that_nobody_knows(self, ledger: Ledger) -> None:
        assert not ledger.rows.demand_again(key(1), 2, ROUTED, given_up=False)
        assert ledger.table.items == {}


class TestOnDemand:
    """The retry of a job whose machine was lost."""

    STEP = Step(at=AT, name=StepName.RETRY, reason=Reason.INFRA_RETRY, retry_of=1)

    def test_is_marked_before_any_webhook_tells_of_it(self, ledger: Ledger) -> None:
        retry = job(2, status=JobStatus.CREATED, on_demand=True, pool=None)
        ledger.rows.mark_on_demand(retry, self.STEP, at=AT)
        assert (ledger.job(2).status, ledger.job(2).on_demand) == (JobStatus.CREATED, True)
        assert ledger.waiting_ids() == []
        assert ledger.rows.route(job(2), [ROUTED], at=LATER)
        (found,) = ledger.rows.waiting_in("docker")
        assert found.on_demand
        assert ledger.steps(2) == ["retry", "routed"]

    def test_is_shown_and_forgotten_like_any_other(self, ledger: Ledger) -> None:
        """Also when no webhook ever tells of it."""
        ledger.rows.mark_on_demand(job(2, status=JobStatus.CREATED, pool=None), self.STEP, at=AT)
        assert [row.job.key for row in ledger.rows.recent(9)] == [key(2)]
        (item,) = ledger.table.items.values()
        assert item["ttl"] > AT.timestamp()

    def test_is_marked_when_the_webhook_was_first(self, ledger: Ledger) -> None:
        ledger.route(job(2, tags=("a",)))
        retry = job(2, status=JobStatus.CREATED, tags=(), pool=None, reason=None)
        ledger.rows.mark_on_demand(retry, self.STEP, at=LATER)
        (found,) = ledger.rows.waiting_in("docker")
        assert (found.on_demand, found.status, found.tags) == (True, JobStatus.PENDING, ("a",))
        assert found.reason is Reason.ROUTED
        row = ledger.rows.row(key(2))
        assert row is not None
        assert row.changed_at == LATER


class TestRecent:
    """What changed last."""

    def test_newest_first_and_no_more_than_asked_for(self, ledger: Ledger) -> None:
        def at(n: int) -> datetime:
            return AT + timedelta(seconds=n)

        for n in (3, 1, 2):
            ledger.rows.route(job(n), [ROUTED], at=at(n))
        assert [row.job.job_id for row in ledger.rows.recent(2)] == [3, 2]
        ledger.rows.advance(job(1, status=JobStatus.RUNNING), [], at=at(9), facts=NOTHING)
        assert [row.job.job_id for row in ledger.rows.recent(5)] == [1, 3, 2]
        assert ledger.rows.recent(5)[1].steps == (), "the index has no histories"

    def test_a_burst_spreads_over_partitions(self, ledger: Ledger) -> None:
        for n in range(1, 161):
            ledger.rows.route(job(n), [ROUTED], at=AT + timedelta(seconds=n))
        rows = [item for item in ledger.table.items.values() if "recent_pk" in item]
        heat = Counter(item["recent_pk"] for item in rows)
        assert len(heat) == SHARDS
        assert max(heat.values()) < 2 * 160 / SHARDS
        newest = [row.job.job_id for row in ledger.rows.recent(30)]
        assert newest == list(range(160, 130, -1))

    def test_a_step_costs_no_write_in_it(self, ledger: Ledger) -> None:
        ledger.route(job(1))
        (before,) = ledger.table.query_index("recent", "recent_pk", recent_pk("job", str(key(1))))
        ledger.rows.tell(key(1), [ROUTED])
        (after,) = ledger.table.query_index("recent", "recent_pk", recent_pk("job", str(key(1))))
        assert before == after


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

    @pytest.mark.parametrize("history", ["gone wrong", 7, {"a": 1}], ids=["text", "number", "map"])
    def test_a_history_that_is_no_list_keeps_nothing_back(
        self, ledger: Ledger, history: object
    ) -> None:
        ledger.route(job(2, pool=None, reason=Reason.NO_POOL))
        ledger.table.items[f"job#{key(2)}", "job"]["timeline"] = history
        assert self.route_all(ledger, *(job(n) for n in range(1, 4))) == [1, 2, 3]
        assert ledger.waiting_ids() == [1, 2, 3]
        assert ledger.steps(2) == ["routed"]
        assert ledger.table.unreadable == {f"job#{key(2)} job"}

    def test_a_long_history_stays_within_its_bound(self, ledger: Ledger) -> None:
        ledger.route(job(2, pool=None, reason=Reason.NO_POOL))
        for _ in range(2 * MOST):
            ledger.rows.tell(key(2), [ROUTED])
        for _ in range(MOST - len(ledger.steps(2))):
            ledger.rows.tell(key(2), [ROUTED])
        assert len(ledger.steps(2)) == MOST
        assert self.route_all(ledger, *(job(n) for n in range(1, 4))) == [1, 2, 3]
        assert len(ledger.steps(2)) <= MOST

    def test_one_that_had_no_pool_may_get_one(self, ledger: Ledger) -> None:
        ledger.route(job(1, pool=None, reason=Reason.NO_POOL))
        assert self.route_all(ledger, job(1), job(2)) == [1, 2]
        assert ledger.waiting_ids() == [1, 2]
