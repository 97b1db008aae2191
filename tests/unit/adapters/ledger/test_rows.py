"""Values as rows and back, rows of an older fleet, and unreadable rows."""

import json
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, get_type_hints
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings, strategies as st

from adapters.ledger.configuration import CONFIG_ROW, StoredConfig
from adapters.ledger.fleet import FleetRows
from adapters.ledger.holds import HOLD_ROW
from adapters.ledger.hooks import HOOK_ROW, HookRow
from adapters.ledger.jobs import JOB_ROW, JobRow, JobRows
from adapters.ledger.pools import PoolRow
from adapters.ledger.retries import INTENT_ROW, Intent
from adapters.ledger.rows import RowType
from adapters.ledger.runners import NOTE_ROW, RUNNER_ROW
from adapters.ledger.table import Change, of_dynamodb, to_dynamodb
from fleet.errors import Refused
from fleet.hook_scope import HookScope
from fleet.model import Job, JobKey, JobStatus, Note, Runner, RunnerState
from fleet.reasons import Reason
from fleet.rules.capacity import BackOff
from fleet.rules.holds import Hold, HoldKind
from fleet.rules.reconcile import Watched
from fleet.steps import Step, StepName
from fleet.trouble import Trouble
from tests.fakes import FakeTable, runner_rows
from tests.unit.fleet.facts import AT, job, runner

LATER = AT + timedelta(seconds=1.5)
INSTANCE = "gitlab.example.com"
KEY = JobKey(instance=INSTANCE, job_id=1)
OLDER = Path(__file__).parent / "rows_before_mapping.json"

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
        one.name: special.get(hints[one.name], st.from_type(hints[one.name]))
        for one in fields(row.of)
        if one.name not in row.elsewhere and one.name != "removed"
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


@pytest.fixture(scope="module")
def older() -> FakeTable:
    """Rows as the fleet wrote them before rows mapped themselves."""
    table = FakeTable()
    for item in json.loads(OLDER.read_text(encoding="utf-8")):
        table.write(Change(pk=item["pk"], sk=item["sk"], put=item))
    return table


def test_older_rows_of_the_fleet_read(older: FakeTable) -> None:
    rows = FleetRows(older)
    assert rows.config() == StoredConfig(
        text="[gitlab]",
        version="v1",
        applied_at=AT,
        tls_ca="PEM",
        leaving=("old",),
        removed={"gone": LATER},
    )
    assert rows.pool("docker") == PoolRow(
        name="docker",
        in_use=1,
        version=1,
        back_off={"m7i.large/a/spot": BackOff(until=LATER, failures=2, code="NoCapacity")},
        refused="no such image",
        refused_version="v1",
        reason="backlog",
        wants_room=True,
        verified_at=AT,
        token_made_at=AT,
        token_expires_at=LATER,
        renewal_failed_at=LATER,
        renewal_failed="401",
        former={7: AT},
    )
    refusal = Hold(
        kind=HoldKind.REFUSAL,
        since=AT,
        ask_at=LATER,
        words="403",
        shared=True,
        lifted_at=LATER,
        failures=3,
    )
    outage = Hold(
        pool="docker", kind=HoldKind.OUTAGE, since=AT, ask_at=LATER, words="502", status=502
    )
    assert rows.holds() == (refusal, outage)
    assert rows.token_looked_at() == (AT, date(2027, 1, 1))
    assert rows.troubles() == (Trouble(kind="token", since=AT, call="GET /user", words="401"),)
    common: dict[str, Any] = {"instance": INSTANCE, "url": "https://x/webhook"}
    group = HookRow(
        scope=HookScope.read("group:4"), hook_id=6, verification="secret-token", **common
    )
    project = HookRow(
        scope=HookScope.read("project:77"),
        hook_id=5,
        verification="signing-token",
        name="project:77@a",
        secret_ids=("b", "a"),
        used_id="a",
        registered_at=AT,
        healthy=False,
        detail="disabled",
        **common,
    )
    assert rows.hooks(INSTANCE) == (group, project)
    (watched,) = rows.watched(INSTANCE)
    assert watched == Watched(
        project_id=77,
        instance=INSTANCE,
        last_hook_at=AT,
        last_polled_at=LATER,
        hook_healthy=False,
        path="group/app",
    )


def test_older_rows_of_jobs_and_runners_read(older: FakeTable) -> None:
    jobs, runners = JobRows(older), runner_rows(older, INSTANCE)
    waiting = Job(
        key=KEY,
        project_id=77,
        project_path="group/app",
        name="unit",
        tags=("docker",),
        status=JobStatus.PENDING,
        outcome=None,
        pending_at=AT,
        pool="docker",
        reason=Reason.ROUTED,
        attempt=2,
        given_up=True,
        given_up_in="v1",
        pipeline_id=9,
    )
    assert jobs.job(KEY) == waiting
    row = jobs.row(replace(KEY, job_id=2))
    assert row is not None
    assert row == JobRow(
        job=row.job,
        steps=(Step(at=LATER, name=StepName.FAILED, failure="script_failure"),),
        changed_at=LATER,
        started_at=AT,
        finished_at=LATER,
        failure_reason="script_failure",
        machine="i-1",
    )
    finished = row.job
    assert (finished.job_id, finished.status, finished.outcome) == (2, JobStatus.FINISHED, "failed")
    assert (finished.deploys, finished.on_demand, finished.attempt) == (True, True, 1)
    assert (finished.runner_id, finished.gitlab_runner_id) == ("rf-docker-1", 3)
    intent = Intent(job=finished.key, failure_reason="script_failure")
    assert jobs.retries.due(before=LATER + timedelta(seconds=1)) == [intent]
    item = older.items["pool#docker", "runner#rf-docker-000000000001"]
    assert NOTE_ROW.read(item) == Note(mark="1 x", at=AT, state=RunnerState.IDLE, since=AT)
    assert runners.live("docker") == (
        Runner(
            id="rf-docker-000000000001",
            pool="docker",
            backend="ec2",
            state=RunnerState.BUSY,
            launched_at=AT,
            expires_at=LATER,
            launch_id="launch-1",
            for_job=KEY,
            works_for=77,
            job=KEY,
            machine_id="i-1",
            mailbox="AROA:i-1",
            gitlab_runner_id=3,
            serves="docker",
            changed_at=LATER,
            capacity="m7i.large/a/spot",
            equipped=True,
        ),
    )
