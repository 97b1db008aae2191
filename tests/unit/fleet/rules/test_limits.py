"""What a pool's configuration allows now."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from fleet.config.reading import read_config
from fleet.rules.limits import LEAVING, fresh_for, limits_of, may_judge_records, refusal_in_force
from fleet.rules.liveness import FRESH
from tests.unit.fleet.facts import AT

FLEET = """
[gitlab]
url = "https://gitlab.example.com"
runners_in = "group:42"
{settings}
[pools.docker]
backend = "tests"
tags = ["docker"]
ceiling = 5
attempts = 2
boot_deadline = "4m"
stalled_after = "{stalled_after}"
idle = {{ count = 3, idle_time = "7m" }}
"""


@pytest.mark.parametrize(
    ("settings", "at_most"),
    [
        pytest.param("", 100, id="a third of the usual 300 calls"),
        pytest.param("calls_per_minute = 900", 300, id="more calls, more machines"),
        pytest.param("calls_per_minute = 2000", 400, id="no call launches more than 400"),
        pytest.param("calls_per_minute = 10", 3, id="a small budget"),
        pytest.param('credentials = "shared"', 400, id="no record, no call"),
    ],
)
def test_a_launch_is_as_large_as_the_calls_for_its_records_allow(
    settings: str, at_most: int
) -> None:
    config = read_config(FLEET.format(settings=settings, stalled_after="6m"), backends=("tests",))
    limits = limits_of(config, config.pools[0], AT)
    assert limits.launch_at_most == at_most
    assert (limits.ceiling, limits.attempts, limits.idle_target, limits.idle_time_s) == (
        5,
        2,
        3,
        420,
    )
    assert (limits.boot_deadline_s, limits.stalled_after_s) == (240, 360)


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
