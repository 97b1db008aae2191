"""What GitLab shows of the calls of runners: the last contact, and a status by silence."""

from __future__ import annotations

from datetime import timedelta

from local.gitlab.model import Runner
from local.gitlab.options import Options
from local.gitlab.runners import RunnerRequest, Runners
from tests.unit.local.gitlab.small_gitlab import NOON, user

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


def new_runner(runners: Runners) -> Runner:
    """A runner of the instance, made at noon."""
    return runners.add(RunnerRequest(runner_type="instance_type", creator=user()), at=NOON)


def test_a_runner_that_never_calls_becomes_stale() -> None:
    runners = Runners(Options())
    made = new_runner(runners)
    assert runners.status(made, NOON + 7 * DAY) == "never_contacted"
    assert runners.status(made, NOON + 8 * DAY) == "stale"


def test_a_machine_may_leave_out_its_version_or_send_nonsense() -> None:
    runners = Runners(Options())
    made = new_runner(runners)
    info = {"version": "19.4.0", "features": {"cancel_gracefully": True}}
    manager = runners.hear(made, system_id="s_1", info=info, at=NOON)
    runners.hear(made, system_id="s_1", info={"version": 7}, at=NOON)
    assert (manager.version, manager.cancels_gracefully) == ("19.4.0", True)
