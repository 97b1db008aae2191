"""Which jobs GitLab is to be asked about, and when."""

from datetime import datetime, timedelta, timezone

import pytest

from adapters.ledger.table import Change
from fleet.rules.calls import LOOK_AFTER
from tests.fakes import AT
from tests.unit.adapters.job_ledger import FINISHED, ROUTED, RUNNING, Ledger, job
from tests.unit.fleet.facts import key

THEN, EVER = AT + LOOK_AFTER, AT + 9 * LOOK_AFTER


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def runs(ledger: Ledger, job_id: int, since: datetime = AT) -> None:
    """A job was seen to run."""
    assert ledger.advance(job(job_id, status=RUNNING), ROUTED, at=since)


def due(ledger: Ledger, at: datetime = THEN, at_most: int = 9) -> list[int]:
    return [job.job_id for job in ledger.rows.looks.due(key(1).instance, at=at, at_most=at_most)]


def test_the_job_that_waited_longest_comes_first(ledger: Ledger) -> None:
    for job_id, seconds in ((1, 20), (2, 0), (3, 10), (4, 61)):
        runs(ledger, job_id, AT + timedelta(seconds=seconds))
    assert due(ledger, THEN + timedelta(seconds=60)) == [2, 3, 1]
    assert due(ledger, THEN + timedelta(seconds=60), at_most=2) == [2, 3]
    assert due(ledger, THEN - timedelta(seconds=1)) == []
    assert ledger.rows.looks.due("other.example.com", at=EVER, at_most=9) == []


def test_times_of_other_zones_are_times(ledger: Ledger) -> None:
    runs(ledger, 1, AT.astimezone(timezone(timedelta(hours=9))))
    runs(ledger, 2, (AT + timedelta(seconds=1)).astimezone(timezone(-timedelta(hours=9))))
    assert due(ledger) == [1]
    assert due(ledger, THEN.astimezone(timezone(timedelta(hours=5)))) == [1]


def test_a_job_of_no_pool_is_asked_about_until_one_takes_it(ledger: Ledger) -> None:
    """GitLab's list tells each minute of those that wait in a pool."""
    ledger.route(job(1, pool=None))
    assert due(ledger) == [1]
    ledger.route(job(1))
    assert due(ledger) == []
    assert ledger.waiting_ids() == [1]


def test_an_unreadable_row_is_left_out_and_named(ledger: Ledger) -> None:
    for job_id in (1, 2):
        runs(ledger, job_id)
    pk = f"job#{key(1)}"
    ledger.table.write(Change(pk=pk, sk="job", put={"job_id": "one"}))
    assert due(ledger) == [2]
    assert ledger.table.unreadable == {f"{pk} job"}


def test_put_off_by_as_long_again(ledger: Ledger) -> None:
    runs(ledger, 1)
    ledger.rows.looks.put_off(key(1), at=THEN)
    assert due(ledger) == []
    assert due(ledger, THEN + LOOK_AFTER) == [1]


@pytest.mark.parametrize("pool", ["docker", None])
def test_an_end_is_not_undone_by_putting_it_off(ledger: Ledger, pool: str | None) -> None:
    ledger.route(job(1, pool=pool))
    runs(ledger, 1)
    ledger.advance(job(1, status=FINISHED, outcome="success"), ROUTED)
    ledger.rows.looks.put_off(key(1), at=AT)
    assert due(ledger, EVER) == []


def test_putting_off_takes_no_job_out_of_a_pool(ledger: Ledger) -> None:
    ledger.route(job(1))
    for unknown in (1, 2):
        ledger.rows.looks.put_off(key(unknown), at=AT)
    assert ledger.waiting_ids() == [1]
    assert due(ledger, EVER) == []
