"""Runner records: tokens, limits, what GitLab shows of their calls."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from local.gitlab.model import Group, Project, Runner
from local.gitlab.options import Options
from local.gitlab.runners import LimitReached, RunnerRequest, Runners
from tests.unit.local.gitlab.small_gitlab import NOON, group, project, user

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


def wanted(owner: Group | Project | None = None, **rest: Any) -> RunnerRequest:
    kind = {Group: "group_type", Project: "project_type"}.get(type(owner), "instance_type")
    return RunnerRequest(
        runner_type=kind,
        creator=user(),
        group=owner if isinstance(owner, Group) else None,
        project=owner if isinstance(owner, Project) else None,
        **rest,
    )


@pytest.mark.parametrize("owner", [group(), project()], ids=["group", "project"])
def test_the_plan_limits_runners_per_group_and_project(owner: Group | Project) -> None:
    runners = Runners(Options(group_runner_limit=2, project_runner_limit=2))
    for _ in range(2):
        runners.add(wanted(owner), at=NOON)
    with pytest.raises(LimitReached, match=r"\(2\) exceeded"):
        runners.add(wanted(owner), at=NOON)
    runners.add(wanted(), at=NOON)  # the instance has no such limit


def heard(runners: Runners, made: Runner, minutes: float, system_id: str | None = "s_1") -> None:
    runners.hear(made, system_id=system_id, info={}, at=NOON + minutes * MINUTE)


def test_contacted_at_lags_while_the_exact_time_is_kept() -> None:
    runners = Runners(Options())
    made = runners.add(wanted(), at=NOON)
    heard(runners, made, 0)
    heard(runners, made, 39)
    assert made.contacted_at == NOON
    assert made.heard_at == NOON + 39 * MINUTE
    heard(runners, made, 55)
    assert made.contacted_at == NOON + 55 * MINUTE


def test_contacted_at_is_renewed_somewhere_between_40_and_55_minutes() -> None:
    delays = set()
    for seed in range(20):
        runners = Runners(Options(seed=seed))
        made = runners.add(wanted(), at=NOON)
        heard(runners, made, 0)
        minutes = 0
        while made.contacted_at == NOON:
            minutes += 1
            heard(runners, made, minutes)
        delays.add(minutes)
    assert min(delays) >= 40
    assert max(delays) <= 55
    assert len(delays) > 1


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
    made = runners.add(wanted(), at=NOON)
    heard(runners, made, 0)
    assert runners.status(made, NOON + silence) == status
    assert runners.is_online(made, NOON + silence) is is_online


def test_a_runner_never_used_becomes_stale_too() -> None:
    runners = Runners(Options())
    made = runners.add(wanted(), at=NOON)
    assert runners.status(made, NOON + 8 * DAY) == "stale"


def test_a_machine_tells_its_version_and_what_it_can_do() -> None:
    runners = Runners(Options())
    made = runners.add(wanted(), at=NOON)
    info = {"version": "19.4.0", "executor": "shell", "features": {"cancel_gracefully": True}}
    manager = runners.hear(made, system_id="s_1", info=info, at=NOON)
    assert (manager.version, manager.executor, manager.cancels_gracefully) == (
        "19.4.0",
        "shell",
        True,
    )
    runners.hear(made, system_id="s_1", info={"version": 7}, at=NOON)
    assert manager.version == "19.4.0"
