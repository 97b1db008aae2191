"""Who hears of what, and when GitLab switches a hook off."""

from __future__ import annotations

from datetime import timedelta

import pytest

from local.gitlab.webhooks.hooks import (
    Hook,
    Hooks,
    alert_status,
    is_executable,
    note_failure,
    note_success,
)
from tests.unit.local.gitlab.small_gitlab import NOON, group, project

MINUTE = timedelta(minutes=1)


def new_hook() -> Hook:
    return Hooks().add(project(), "http://127.0.0.1:1/hook", at=NOON)


def fail(hook: Hook, times: int) -> None:
    for _ in range(times):
        note_failure(hook, NOON)


def test_only_push_events_are_on_by_default() -> None:
    hook = new_hook()
    assert [name for name, wanted in hook.events.items() if wanted] == ["push_events"]
    assert "member_events" not in hook.events


def test_group_hooks_have_events_of_their_own() -> None:
    hook = Hooks().add(group(), "http://127.0.0.1:1/hook", at=NOON)
    assert {"member_events", "subgroup_events", "project_events"} <= set(hook.events)


def test_hooks_of_the_project_and_of_all_groups_above_hear() -> None:
    hooks = Hooks()
    top = group()
    sub = group("platform", number=2, parent=top)
    demo = project(within=sub)
    mine = [hooks.add(owner, "http://127.0.0.1:1/", at=NOON) for owner in (demo, sub, top)]
    others = [
        hooks.add(owner, "http://127.0.0.1:1/", at=NOON)
        for owner in (group("other", number=3), project("alien", number=2))
    ]
    for hook in (*mine, *others):
        hook.events["job_events"] = True
    assert list(hooks.wanting(demo, "job_events")) == mine
    assert hooks.of(demo) == mine[:1]


def test_a_hook_hears_only_what_it_asked_for() -> None:
    hooks = Hooks()
    demo = project()
    hooks.add(demo, "http://127.0.0.1:1/", at=NOON)
    assert list(hooks.wanting(demo, "job_events")) == []


@pytest.mark.parametrize(
    ("failures", "pause"),
    [
        pytest.param(1, None, id="one failure is nothing"),
        pytest.param(3, None, id="nor are three"),
        pytest.param(4, timedelta(minutes=1), id="the fourth pauses for a minute"),
        pytest.param(5, timedelta(minutes=2), id="then two"),
        pytest.param(6, timedelta(minutes=4), id="then four"),
        pytest.param(14, timedelta(minutes=1024), id="doubling on"),
        pytest.param(15, timedelta(days=1), id="up to a day"),
        pytest.param(39, timedelta(days=1), id="and stays there"),
    ],
)
def test_pause_after_failures_in_a_row(failures: int, pause: timedelta | None) -> None:
    hook = new_hook()
    fail(hook, failures)
    assert hook.disabled_until == (None if pause is None else NOON + pause)
    assert not hook.is_disabled


def test_the_fortieth_failure_ends_it_for_good() -> None:
    hook = new_hook()
    fail(hook, 40)
    assert alert_status(hook, NOON + timedelta(days=365)) == "disabled"


def test_a_pause_ends_by_itself() -> None:
    hook = new_hook()
    fail(hook, 4)
    assert alert_status(hook, NOON) == "temporarily_disabled"
    assert not is_executable(hook, NOON + MINUTE - timedelta(seconds=1))
    assert is_executable(hook, NOON + MINUTE)


def test_one_success_forgets_all_failures() -> None:
    hook = new_hook()
    fail(hook, 3)
    note_success(hook)
    fail(hook, 3)
    assert is_executable(hook, NOON)


def test_a_success_brings_even_a_disabled_hook_back() -> None:
    hook = new_hook()
    fail(hook, 40)
    note_success(hook)
    assert alert_status(hook, NOON) == "executable"
