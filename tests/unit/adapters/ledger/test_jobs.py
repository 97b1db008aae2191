"""Job rows: how far a job is only ever grows, and every write may come twice and in any order."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from adapters.ledger.table import Change
from fleet.errors import Transient
from fleet.model import JobStatus
from fleet.reasons import Reason
from fleet.steps import Step, StepName
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
        assert ledger.rows.recent(5)[1].steps == (ROUTED,)
