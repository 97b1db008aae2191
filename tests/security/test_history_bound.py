"""A job's history stays small whatever is sent about it, and its first and last steps remain."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings, strategies as st

from adapters.ledger.jobs import JobRows
from adapters.ledger.table import to_dynamodb
from fleet.model import JobKey
from fleet.steps import FIRST, LAST, LONGEST, MOST, Step, StepName, with_room
from tests.fakes import FakeTable
from tests.unit.fleet.rules.standings import job

AT = datetime(2026, 11, 26, 9, tzinfo=UTC)
WIDE = "\U0001f600" * 100_000
KEPT_ITEM = 400_000  # bytes, of DynamoDB


def step(number: int, **facts: object) -> Step:
    at = AT + timedelta(seconds=number)
    return Step(at=at, name=StepName.IGNORED, **{"delivery_id": f"d{number}"} | facts)  # type: ignore[arg-type]


def history_of(count: int, **facts: object) -> tuple[FakeTable, tuple[Step, ...]]:
    """A table after so many deliveries about one job, and the history in it."""
    table = FakeTable()
    rows = JobRows(table)
    row = job()
    assert rows.route(row, [step(0, **facts)], at=AT)
    for number in range(1, count):
        rows.extend(row.key, [step(number, **facts)])
    return table, history(rows, row.key)


def history(rows: JobRows, key: JobKey) -> tuple[Step, ...]:
    """The steps of a job's row."""
    row = rows.row(key)
    assert row is not None
    return row.steps


def test_a_long_history_keeps_its_first_and_last_steps_and_a_marker() -> None:
    _, steps = history_of(1000)
    assert len(steps) <= MOST
    assert [item.delivery_id for item in steps[:FIRST]] == [f"d{n}" for n in range(FIRST)]
    marker, last = steps[FIRST], steps[FIRST + 1 :]
    assert marker.name is StepName.LEFT_OUT
    assert [item.delivery_id for item in last] == [f"d{n}" for n in range(1000 - len(last), 1000)]
    assert len(last) >= LAST
    assert FIRST + (marker.count or 0) + len(last) == 1000


def test_a_history_of_usual_length_is_whole() -> None:
    _, steps = history_of(MOST)
    assert [item.delivery_id for item in steps] == [f"d{n}" for n in range(MOST)]


def test_the_largest_history_fits_into_an_item() -> None:
    facts = dict.fromkeys(("delivery_id", "failure", "detail"), WIDE)
    table, steps = history_of(200, **facts)
    assert {len(entry.detail or "") for entry in steps if entry.name is StepName.IGNORED} == {
        LONGEST
    }
    (item,) = table.items.values()
    size = sum(len(text.encode()) for text in _texts(to_dynamodb(item)))
    assert size < KEPT_ITEM


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in _texts(part)]
    if isinstance(value, list):
        return [text for each in value for text in _texts(each)]
    return [str(value)]


def test_a_job_with_a_flooded_history_still_advances() -> None:
    table, _ = history_of(500)
    rows, row = JobRows(table), job()
    assert not rows.route(row, [step(500)], at=AT)
    assert rows.demand_again(row.key, row.attempt + 1, step(501), given_up=False)
    assert len(history(rows, row.key)) <= MOST


@settings(max_examples=50)
@given(st.lists(st.integers(min_value=1, max_value=MOST), min_size=1, max_size=12))
def test_no_step_is_lost_from_the_count(batches: list[int]) -> None:
    items: list[Mapping[str, object]] = []
    for size in batches:
        items = list(with_room([*items, *(step(n).item() for n in range(size))]))
        assert len(items) <= MOST
    count = sum(int(str(item.get("count", 1))) for item in items)
    assert count == sum(batches)
