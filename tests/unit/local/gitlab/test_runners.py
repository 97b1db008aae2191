"""What GitLab shows of the calls of runners: the last contact, and a status by silence."""

from datetime import timedelta

import pytest

from local.gitlab.model import Runner
from local.gitlab.options import Options
from local.gitlab.runners import Runners
from tests.unit.local.gitlab.small_gitlab import NOON, user

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


def new_runner(runners: Runners) -> Runner:
    """A runner of the instance, made at noon."""
    return runners.add(Runner(runner_type="instance_type", created_at=NOON, creator=user()))


def heard(runners: Runners, made: Runner, minutes: float) -> None:
    """The runner calls so many minutes after noon."""
    runners.hear(made, system_id="s_1", info={}, at=NOON + minutes * MINUTE)


def test_contacted_at_lags_while_the_exact_time_is_kept() -> None:
    runners = Runners(Options())
    made = new_runner(runners)
    heard(runners, made, 0)
    heard(runners, made, 39)
    assert made.contacted_at == NOON
    assert made.heard_at == NOON + 39 * MINUTE
    heard(runners, made, 55)
    assert made.contacted_at == NOON + 55 * MINUTE


@pytest.mark.parametrize(
    ("silence", "status", "is_online"),
    [
        (timedelta(hours=2), "online", True),
        (timedelta(hours=2, seconds=1), "offline", False),
        (7 * DAY, "offline", False),
        (7 * DAY + MINUTE, "stale", False),
    ],
)
def test_status_by_silence(silence: timedelta, status: str, is_online: bool) -> None:
    runners = Runners(Options())
    made = new_runner(runners)
    heard(runners, made, 0)
    assert runners.status(made, NOON + silence) == status
    assert runners.is_online(made, NOON + silence) is is_online


def test_a_runner_that_never_calls_becomes_stale() -> None:
    runners = Runners(Options())
    made = new_runner(runners)
    assert runners.status(made, NOON + 7 * DAY) == "never_contacted"
    assert runners.status(made, NOON + 8 * DAY) == "stale"


@pytest.mark.parametrize("able", [True, False])
def test_a_machine_says_whether_it_cancels_gracefully(able: bool) -> None:
    runners = Runners(Options())
    info = {"features": {"cancel_gracefully": able}}
    manager = runners.hear(new_runner(runners), system_id="s_1", info=info, at=NOON)
    assert manager.cancels_gracefully is able
