"""What a pool's configuration allows now."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from fleet.model import Limits
from fleet.rules.limits import (
    LEAVING,
    fresh_for,
    is_full,
    limits_of,
    may_judge_records,
    refusal_in_force,
)
from fleet.rules.liveness import FRESH
from tests.unit.fleet.configs import config_of
from tests.unit.fleet.facts import AT


@pytest.mark.parametrize(
    ("settings", "at_most"),
    [
        pytest.param("", 100, id="a third of the usual 300 calls"),
        pytest.param("calls_per_minute = 360", 120, id="more calls, more machines"),
        pytest.param("calls_per_minute = 2000", 125, id="as many as a partition takes"),
        pytest.param("calls_per_minute = 10", 3, id="a small budget"),
        pytest.param('credentials = "shared"', 125, id="no record, no call"),
    ],
)
def test_a_launch_is_as_large_as_the_calls_for_its_records_allow(
    settings: str, at_most: int
) -> None:
    times = {"boot_deadline": "4m", "stalled_after": "6m", "idle__idle_time": "7m"}
    config = config_of("tests", gitlab=settings, attempts=2, idle__count=3, **times)
    assert replace(limits_of(config, config.pools[0], AT), serves=None) == Limits(
        ceiling=5,
        idle_target=3,
        idle_time_s=420,
        launch_at_most=at_most,
        attempts=2,
        boot_deadline_s=240,
        stalled_after_s=360,
    )


@pytest.mark.parametrize(
    ("stalled_after_s", "expected"), [(300, FRESH), (60, timedelta(seconds=12))]
)
def test_a_report_is_fresh_for_a_fifth_of_the_silence_that_ends_a_runner(
    stalled_after_s: float, expected: timedelta
) -> None:
    assert fresh_for(replace(LEAVING, stalled_after_s=stalled_after_s)) == expected


@pytest.mark.parametrize(
    ("version", "dry_until", "expected"),
    [
        pytest.param("new", AT, "no such image", id="until the back-off is over"),
        pytest.param("new", None, None, id="then it is asked again"),
        pytest.param("old", AT, None, id="another configuration is asked at once"),
    ],
)
def test_what_aws_refused_is_in_force_while_it_is_not_asked_again(
    version: str, dry_until: datetime | None, expected: str | None
) -> None:
    words = refusal_in_force("no such image", version=version, current="new", dry_until=dry_until)
    assert words == expected


@pytest.mark.parametrize(("stored", "may"), [(None, True), ("mine", True), ("newer", False)])
def test_a_process_that_is_behind_drains_no_runner_of_the_newer_configuration(
    stored: str | None, may: bool
) -> None:
    assert may_judge_records(stored, version="mine") is may


@pytest.mark.parametrize(
    ("in_use", "ceiling", "backlog", "full"),
    [(2, 2, 1, True), (3, 2, 1, True), (1, 2, 1, False), (2, 2, 0, False), (0, 0, 1, True)],
)
def test_a_pool_is_full_where_jobs_wait_and_there_is_no_room(
    in_use: int, ceiling: int, backlog: int, full: bool
) -> None:
    assert is_full(in_use=in_use, ceiling=ceiling, backlog=backlog) is full
