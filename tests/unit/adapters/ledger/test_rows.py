"""Values as rows and back, and unreadable rows."""

from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, get_type_hints
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings, strategies as st

from adapters.ledger.configuration import CONFIG_ROW
from adapters.ledger.holds import HOLD_ROW
from adapters.ledger.hooks import HOOK_ROW
from adapters.ledger.jobs import JOB_ROW
from adapters.ledger.retries import INTENT_ROW
from adapters.ledger.rows import RowType
from adapters.ledger.runners import NOTE_ROW, RUNNER_ROW
from adapters.ledger.table import of_dynamodb, to_dynamodb
from fleet.errors import Refused
from fleet.model import JobKey
from tests.unit.fleet.facts import AT, job, runner

ROWS: dict[str, RowType[Any]] = {
    "config": CONFIG_ROW,
    "hold": HOLD_ROW,
    "hook": HOOK_ROW,
    "intent": INTENT_ROW,
    "job": JOB_ROW,
    "note": NOTE_ROW,
    "runner": RUNNER_ROW,
}
TIMES = st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001  hypothesis adds the zone
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, ZoneInfo("Europe/Berlin")]),
)


def values(row: RowType[Any]) -> st.SearchStrategy[Any]:
    """Any value of a kind of row; what its items do not hold stays at the default."""
    special = {
        datetime: TIMES,
        datetime | None: st.none() | TIMES,
        int: st.integers(0, 2**63),
        float | None: st.none() | st.integers(0, 10**7).map(lambda cents: cents / 10**5),
        int | None: st.none() | st.integers(0, 2**63),
        JobKey: st.builds(JobKey, job_id=st.integers(0, 2**63)),
        JobKey | None: st.none() | st.builds(JobKey, job_id=st.integers(0, 2**63)),
    }
    hints = get_type_hints(row.of)
    facts = {
        column.name: special.get(hints[column.name], st.from_type(hints[column.name]))
        for column in fields(row.of)
        if column.name not in row.elsewhere and column.name != "removed"
    }
    return st.builds(row.of, **facts)


@pytest.mark.parametrize("kind", ROWS)
@given(data=st.data())
@settings(max_examples=25)
def test_a_value_reads_back_from_its_row(kind: str, data: st.DataObject) -> None:
    row = ROWS[kind]
    value = data.draw(values(row))
    assert row.read(of_dynamodb(to_dynamodb(row.write(value)))) == value


@pytest.mark.parametrize(
    ("row", "value", "absent"),
    [
        pytest.param(RUNNER_ROW, runner("r"), {"equipped", "left_bare", "job"}, id="runner"),
        pytest.param(JOB_ROW, job(1), {"on_demand", "reason", "key"}, id="job"),
    ],
)
def test_none_and_flags_that_are_off_have_no_attribute(
    row: RowType[Any], value: Any, absent: set[str]
) -> None:
    """Conditions ask whether they exist."""
    assert not absent & row.write(value).keys()


def hold(**changes: object) -> dict[str, Any]:
    item = {"pk": "hold", "sk": "*#*", "kind_of_hold": "outage", "words": "502"}
    return item | {"since": AT.isoformat(), "ask_at": AT.isoformat()} | changes


@pytest.mark.parametrize(
    ("row", "item", "wrong"),
    [
        pytest.param(HOLD_ROW, hold(failures="many"), ("failures",), id="type"),
        pytest.param(HOLD_ROW, hold(words=None), ("words",), id="missing"),
        pytest.param(HOLD_ROW, hold(kind_of_hold="strike"), ("kind",), id="enum"),
        pytest.param(HOLD_ROW, hold(since="2026-08-20T09:00:00"), ("Hold.since",), id="no zone"),
        pytest.param(RUNNER_ROW, RUNNER_ROW.write(runner("r")) | {"job": "x"}, ("job",), id="form"),
        pytest.param(RUNNER_ROW, RUNNER_ROW.write(runner("r")) | {"job": 7}, ("job",), id="number"),
        pytest.param(JOB_ROW, JOB_ROW.write(job(1)) | {"job_id": "a"}, ("key.job_id",), id="key"),
    ],
)
def test_an_unreadable_row_names_itself_and_its_fields_and_no_value(
    row: RowType[Any], item: dict[str, Any], wrong: tuple[str, ...]
) -> None:
    with pytest.raises(Refused) as error:
        row.read({"pk": "p#1", "sk": "row"} | item)
    assert error.value.facts["row"] == f"{item.get('pk', 'p#1')} {item.get('sk', 'row')}"
    assert error.value.facts["wrong"] == ", ".join(wrong)
    assert "many" not in str(error.value)


def test_a_reason_that_only_a_newer_fleet_knows_is_none() -> None:
    item = JOB_ROW.write(job(1)) | {"reason": "warm"}
    assert JOB_ROW.read(item).reason is None
