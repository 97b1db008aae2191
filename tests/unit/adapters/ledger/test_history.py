"""Past runs in the table: the same back, once, by day."""

from datetime import timedelta

import pytest

from adapters.ledger.history import KEPT, SHARDS, HistoryRows, past_change
from tests.fakes import FakeTable
from tests.unit.fleet.facts import AT
from tests.unit.fleet.past_runs import jobless, past

DAY_S = 86_400


def test_a_run_is_read_as_it_was_written_and_once() -> None:
    table = FakeTable()
    rows = HistoryRows(table)
    runs = [past(1), past(2, cpu_s=90.5, peak_memory_mb=900), jobless(3), past(4, ended_s=-DAY_S)]
    for run in [*runs, *runs]:
        rows.write(run)
    assert len(table.items) == 4
    assert rows.between(AT - timedelta(days=2), AT + timedelta(seconds=1)) == [runs[3], *runs[:3]]


def test_a_time_ends_before_its_last_moment() -> None:
    rows = HistoryRows(FakeTable())
    runs = [past(number, ended_s=number * 3_600) for number in range(-30, 30)]
    for run in runs:
        rows.write(run)
    since, until = AT - timedelta(hours=25), AT + timedelta(hours=20)
    shown = rows.between(since, until)
    assert shown == [run for run in runs if since <= run.ended_at < until]


def test_the_end_of_a_job_joins_it_also_when_it_is_written_the_next_day() -> None:
    rows = HistoryRows(FakeTable())
    rows.write(past(1, outcome=None))
    rows.write(past(1, backend=None, outcome="failed", ended_s=DAY_S - 3_600))
    (run,) = rows.between(AT, AT + timedelta(seconds=1))
    assert run.had_machine


def test_a_row_is_one_write_unit_and_goes_after_ninety_days() -> None:
    run = past(1, cpu_s=0.123, peak_memory_mb=12_345, failure="x" * 30)
    change = past_change(run)
    item = change.put
    assert sum(len(name) + len(str(value)) for name, value in item.items()) < 1_000
    assert change.put["ttl"] == int((AT + KEPT).timestamp())


def test_a_day_is_spread_over_its_shards() -> None:
    partitions = {past_change(past(number)).pk for number in range(200)}
    assert len(partitions) == SHARDS


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"e":"soon"}', '{"id":"a","e":1,"u":"x"}'])
def test_a_row_that_cannot_be_read_hides_no_other(text: str) -> None:
    table = FakeTable()
    rows = HistoryRows(table)
    rows.write(past(1))
    broken = past_change(past(2))
    table.items[broken.pk, broken.sk] = {**broken.put, "run": text}
    assert [run.job_id for run in rows.between(AT, AT + timedelta(seconds=1))] == [1]
    assert table.unreadable == {f"{broken.pk} {broken.sk}"}
