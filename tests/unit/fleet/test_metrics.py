"""Events as CloudWatch's metrics: the form of the line, and what the declarations name."""

import json
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime

import pytest

from fleet import events
from fleet.events import FleetMeasured, JobRouted, LaunchShort, PoolMeasured, emit, name_stack
from fleet.metrics import MEASURED, Measured, embedded

AT = datetime(2026, 8, 20, 9, 15, tzinfo=UTC)
SHORT = LaunchShort(pool="docker", code="InsufficientInstanceCapacity", kind="capacity",
                    missing=3, advice="", other_codes=())  # fmt: skip
POOL = PoolMeasured(pool="docker", in_use=3, ceiling=5, backlog=0, oldest_wait_s=None)


@pytest.fixture(autouse=True)
def _unnamed() -> Iterator[None]:
    yield
    events._stack.clear()


def test_a_measured_event_is_a_line_that_cloudwatch_counts() -> None:
    assert embedded(SHORT, stack="fleet-a", at=AT) == {
        "_aws": {
            "Timestamp": 1787217300000,
            "CloudWatchMetrics": [
                {
                    "Namespace": "RunnerFleet",
                    "Dimensions": [["Stack"], ["Stack", "Code"]],
                    "Metrics": [{"Name": "RunnersNotLaunched", "Unit": "Count"}],
                }
            ],
        },
        "Stack": "fleet-a",
        "Code": "InsufficientInstanceCapacity",
        "RunnersNotLaunched": 3,
    }


def test_an_event_by_pool_has_no_metric_of_the_whole_stack() -> None:
    (directive,) = embedded(POOL, stack="a", at=AT)["_aws"]["CloudWatchMetrics"]
    assert directive["Dimensions"] == [["Stack", "Pool"]]


def test_a_number_that_is_not_known_is_left_out() -> None:
    event = FleetMeasured(
        oldest_wait_s=None, stuck=0, full_pools=0, troubles=0, calls_left_percent=50
    )
    line = embedded(event, stack="a", at=AT)
    assert "OldestWait" not in line
    assert [metric["Name"] for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]] == [
        *("Stuck", "FullPools", "GitLabTroubles", "GitLabCallsLeft")
    ]


def test_other_events_have_none() -> None:
    event = JobRouted(job_id=1, project_id=7, pool=None, reason="no_pool", waited_s=1.0)
    assert embedded(event, stack="a", at=AT) == {}


@pytest.mark.parametrize(("stack", "is_measured"), [("fleet-a", True), (None, False)])
def test_lines_have_metrics_where_the_stack_is_known(
    stack: str | None, is_measured: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if stack:
        name_stack(stack)
    emit(POOL)
    line = json.loads(capsys.readouterr().out)
    assert ("_aws" in line) == is_measured
    assert line.get("Stack") == stack
    assert line["in_use"] == 3


@pytest.mark.parametrize("event", MEASURED, ids=lambda event: event.__name__)
def test_a_declaration_names_fields_of_its_event(event: type) -> None:
    kind: Measured = MEASURED[event]
    names = {field.name for field in fields(event)}
    used = {measure.field for measure in kind.measures if measure.field} | set(kind.by)
    assert used <= names
    # A metric's key must not hide a field of the line.
    assert not names & {measure.name for measure in kind.measures}


def test_one_metric_has_one_event() -> None:
    names = [measure.name for kind in MEASURED.values() for measure in kind.measures]
    assert len(set(names)) == len(names)
