"""Runner records: tokens, limits, what GitLab shows of their calls."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from local.gitlab.model import Group, Project, Runner
from local.gitlab.options import Options
from local.gitlab.runners import LEGACY_SYSTEM_ID, LimitReached, NewRunner, Runners
from tests.unit.local.gitlab.small_gitlab import NOON, group, project, user

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


def wanted(owner: Group | Project | None = None, **rest: Any) -> NewRunner:
    kind = {Group: "group_type", Project: "project_type"}.get(type(owner), "instance_type")
    return NewRunner(
        runner_type=kind,
        creator=user(),
        group=owner if isinstance(owner, Group) else None,
        project=owner if isinstance(owner, Project) else None,
        **rest,
    )


def test_a_new_runner_is_as_asked_for() -> None:
    runners = Runners(Options())
    demo = project()
    made = runners.add(
        wanted(demo, description="small", tags=frozenset({"ec2"}), maximum_timeout_s=840),
        at=NOON,
    )
    assert (made.id, made.runner_type, made.description) == (1, "project_type", "small")
    assert (made.projects, made.maximum_timeout_s) == ({1: demo}, 840)
    assert made.tags == frozenset({"ec2"})
    assert made.run_untagged
    assert runners.status(made, NOON) == "never_contacted"


def test_tokens_are_authentication_tokens_and_lead_to_their_runner() -> None:
    runners = Runners(Options())
    first, second = (runners.add(wanted(), at=NOON) for _ in range(2))
    assert first.token.startswith("glrt-")
    assert first.token != second.token
    assert runners.by_token(second.token) is second
    assert runners.by_token("glrt-nobody") is None


def test_ids_are_never_used_again() -> None:
    runners = Runners(Options())
    runners.delete(runners.add(wanted(), at=NOON))
    assert runners.add(wanted(), at=NOON).id == 2


def test_a_deleted_runner_is_unknown() -> None:
    runners = Runners(Options())
    made = runners.add(wanted(), at=NOON)
    runners.delete(made)
    assert runners.by_token(made.token) is None
    assert not runners.by_id


def test_a_renewed_token_replaces_the_old_one() -> None:
    runners = Runners(Options())
    made = runners.add(wanted(), at=NOON)
    old = made.token
    new = runners.renew_token(made, at=NOON)
    assert new != old
    assert runners.by_token(old) is None
    assert runners.by_token(new) is made


@pytest.mark.parametrize("owner", [group(), project()], ids=["group", "project"])
def test_the_plan_limits_runners_per_group_and_project(owner: Group | Project) -> None:
    runners = Runners(Options(group_runner_limit=2, project_runner_limit=2))
    for _ in range(2):
        runners.add(wanted(owner), at=NOON)
    with pytest.raises(LimitReached, match=r"\(2\) exceeded"):
        runners.add(wanted(owner), at=NOON)
    runners.add(wanted(), at=NOON)  # the instance has no such limit


def test_runners_of_others_do_not_count() -> None:
    runners = Runners(Options(group_runner_limit=1))
    runners.add(wanted(group("a", number=1)), at=NOON)
    runners.add(wanted(group("b", number=2)), at=NOON)
    assert len(runners.by_id) == 2


def test_only_runners_made_or_heard_from_within_a_week_count() -> None:
    runners = Runners(Options(group_runner_limit=1))
    acme = group()
    old = runners.add(wanted(acme), at=NOON)
    later = NOON + 7 * DAY
    with pytest.raises(LimitReached):
        runners.add(wanted(acme), at=later)
    made = runners.add(wanted(acme), at=later + MINUTE)
    runners.delete(made)
    runners.hear(old, system_id="s_1", info={}, at=later)
    with pytest.raises(LimitReached):
        runners.add(wanted(acme), at=later + MINUTE)


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


def test_every_system_id_is_a_machine_of_its_own() -> None:
    runners = Runners(Options())
    made = runners.add(wanted(), at=NOON)
    for system_id in ("s_1", "s_2", "s_1", None):
        heard(runners, made, 0, system_id)
    assert list(made.managers) == ["s_1", "s_2", LEGACY_SYSTEM_ID]
    assert [manager.id for manager in made.managers.values()] == [1, 2, 3]


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
