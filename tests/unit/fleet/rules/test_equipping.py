"""Who gives a runner its credential, and how long it waits for a job."""

from datetime import datetime, timedelta

import pytest

from fleet.config.model import RunnersIn
from fleet.model import Runner, RunnerState
from fleet.rules.equipping import cache_project, is_abandoned, patience
from tests.unit.fleet.configs import pool_of
from tests.unit.fleet.facts import AT, key, runner

POOL = pool_of("tests", wait_timeout="5m", boot_deadline="4m", max_job_time="1h", max_lifetime="3h")


@pytest.mark.parametrize(
    ("waits", "expected"),
    [
        (runner("r", RunnerState.IN_FLIGHT, since_s=60), False),
        (runner("r", RunnerState.IN_FLIGHT, since_s=61), True),
        (runner("r", RunnerState.IN_FLIGHT, since_s=1, left_bare=True), True),
        (runner("r", RunnerState.DRAINING, since_s=61, left_bare=True), False),
        (runner("r", RunnerState.DONE, since_s=61), False),
    ],
)
def test_a_runner_is_equipped_by_another_round_when_its_launch_is_over(
    waits: Runner, expected: bool
) -> None:
    assert is_abandoned(waits, AT) is expected


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


@pytest.mark.parametrize(
    ("for_job", "token_ends_at", "expected"),
    [
        pytest.param(True, None, minutes(5), id="for a job: the pool's wait_timeout"),
        pytest.param(False, None, minutes(120), id="kept warm: until a job would be cut"),
        pytest.param(False, AT + minutes(34), minutes(30), id="not beyond its token"),
        pytest.param(True, AT + minutes(34), minutes(5), id="a token that outlasts it"),
        pytest.param(True, AT + minutes(2), minutes(1), id="a minute at least"),
    ],
)
def test_how_long_a_runner_waits_for_its_job(
    for_job: bool, token_ends_at: datetime | None, expected: timedelta
) -> None:
    waits = runner("r", for_job=key(1) if for_job else None)
    assert patience(POOL, waits, token_expires_at=token_ends_at, at=AT) == expected


@pytest.mark.parametrize(
    ("runners_in", "project_id", "expected"),
    [
        pytest.param(RunnersIn(kind="project", id=7), None, 7, id="all of them serve one project"),
        pytest.param(RunnersIn(kind="project"), 8, 8, id="it serves its job's project"),
        pytest.param(RunnersIn(kind="group", id=7), 8, None, id="GitLab may give it the group's"),
        pytest.param(RunnersIn(kind="instance"), 8, None, id="GitLab may give it any"),
    ],
)
def test_a_runner_gets_the_cache_of_the_only_project_it_can_serve(
    runners_in: RunnersIn, project_id: int | None, expected: int | None
) -> None:
    assert cache_project(runners_in, runner("r", project_id=project_id)) == expected
