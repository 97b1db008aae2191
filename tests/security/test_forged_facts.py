"""What the holder of a webhook's secret writes about a job: times, paths, ends of jobs unknown."""

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from fleet.errors import FleetError, Refused
from fleet.job_event import JobEvent
from orchestrator.route import route_event
from orchestrator.settle import settle
from tests.security.test_webhook_door import hostile, json_values
from tests.unit.orchestrator.scene import AT, INSTANCE, PROJECT, Scene, key
from tests.unit.webhook.deliveries import encoded

DAYS = timedelta(days=1)
pytestmark = pytest.mark.usefixtures("closed_event_loop")
AGES = [
    "0001-01-01T00:00:00+14:00",  # no time in UTC
    "0001-01-01T00:00:00Z",
    "1999-12-31T23:59:59Z",
    "2100-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-14:00",
    *(-1, 9e18, "1e18", True, [], "2026-13-01T00:00:00Z"),
]


@pytest.mark.parametrize("name", ["build_created_at", "build_started_at", "build_finished_at"])
@pytest.mark.parametrize("age", AGES, ids=str)
def test_a_time_that_cannot_be_calculated_with_is_a_bad_request(name: str, age: object) -> None:
    assert hostile(encoded(**{name: age}))[0] == 400


@pytest.mark.parametrize("name", ["received_at", "created_at", "started_at", "finished_at"])
@pytest.mark.parametrize("age", [age for age in AGES if isinstance(age, str)])
def test_a_time_that_cannot_be_calculated_with_is_no_message_of_the_bus(
    name: str, age: str
) -> None:
    detail = Scene().event(1, "success").to_detail() | {name: age}
    with pytest.raises(Refused):
        JobEvent.from_detail(detail)


ODD: list[object] = [10**40, 2**63, -1, 0, 1.5, None, [], {}, float("nan")]
WRONG: dict[str, list[object]] = {
    **dict.fromkeys(["project_id", "job_id", "pipeline_id"], ODD),
    "runner_id": [value for value in ODD if value is not None],
    "retries_count": [2**31, -1, None, []],
    "status": ["", "deleted", "PENDING", 7, None],
    "queued_s": [float("inf"), float("nan"), "x"],
}


@pytest.mark.parametrize(
    "detail",
    [
        *(None, [], [{}], "x", 7, {}),
        *({name: value} for name, values in WRONG.items() for value in values),
    ],
    ids=str,
)
def test_what_is_no_event_of_the_webhook_is_refused(detail: object) -> None:
    """Its sender has the role of the webhook function."""
    if isinstance(detail, dict) and detail:
        detail = Scene().event(1, "success").to_detail() | detail
    with pytest.raises(Refused, match="not a job event"):
        JobEvent.from_detail(detail)


@settings(max_examples=150, deadline=None)
@given(key=st.sampled_from(sorted(Scene().event(1, "success").to_detail())), value=json_values)
def test_no_message_of_the_bus_is_more_than_refused(key: str, value: object) -> None:
    scene = Scene()
    detail = scene.event(1, "success").to_detail() | {key: value}
    for kind in ("job.running", "job.finished"):
        with suppress(FleetError):
            settle(scene.world, {"detail-type": kind, "detail": detail}, round_=0)
    with suppress(FleetError):
        route_event(scene.world, JobEvent.from_detail(detail))


@pytest.mark.parametrize("days", [-9000, -1, 0, 1, 20_000])
@pytest.mark.parametrize("status", ["pending", "running", "success"])
def test_a_false_time_of_these_days_stops_no_pass(status: str, days: int) -> None:
    scene = Scene()
    scene.waits(2)
    at = AT + timedelta(days=days)
    facts: dict[str, Any] = {"created_at": at, "started_at": at, "finished_at": at}
    if status == "pending":
        scene.route(1, **facts)
    else:
        scene.settle(1, status, **facts)
    scene.reconcile()
    scene.scale()
    scene.sweep()
    assert [runner.for_job for runner in scene.runners] == [key(2)]


def test_an_end_that_only_an_event_tells_is_no_past_run_and_names_no_project() -> None:
    scene = Scene()
    scene.settle(1, "failed", project_path="rich/uncle", failure_reason="script_failure")
    row = scene.row(1)
    assert (row.job.is_hearsay, row.job.project_id, row.job.project_path) == (True, PROJECT, "")
    assert not [pk for pk, _ in scene.table.items if pk.startswith("past#")]
    assert INSTANCE in str(row.job.key)


def test_a_past_run_does_not_end_in_the_future() -> None:
    scene = Scene()
    scene.waits(1)
    scene.settle(1, "canceled", finished_at=AT + 900 * DAYS)
    (day,) = {pk.split("#")[1] for pk, _ in scene.table.items if pk.startswith("past#")}
    assert day == f"{AT:%Y-%m-%d}"
