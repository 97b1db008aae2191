import traceback
from typing import Any

import pytest

from adapters.gitlab.hook_values import GitLabHook, HookTarget, Verification
from fleet.errors import Transient
from fleet.hook_scope import HookScope

LEFT_OUT = object()
TARGET = HookTarget(scope=HookScope(kind="project", id=77), url="https://hooks.example.com/webhook")
BODY: dict[str, Any] = {
    "id": 5,
    "url": "https://hooks.example.com/webhook",
    "job_events": True,
    "push_events": False,
    "enable_ssl_verification": True,
    "token_present": True,
    "signing_token_present": False,
    "alert_status": "temporarily_disabled",
    "disabled_until": "2026-08-20T09:15:01.000Z",
}


def events(target: HookTarget, *, wanted: bool) -> set[str]:
    """The events that a hook asks for, or that it turns off."""
    return {
        name
        for name, is_on in target.body().items()
        if name.endswith("_events") and is_on == wanted
    }


def test_asks_for_job_events_and_turns_every_other_event_off() -> None:
    group = HookTarget(scope=HookScope(kind="group", id=42), url="https://h")
    of_groups = {"member_events", "subgroup_events", "project_events"}
    assert events(TARGET, wanted=True) == events(group, wanted=True) == {"job_events"}
    assert "push_events" in events(TARGET, wanted=False)  # GitLab's default is true
    assert events(group, wanted=False) - events(TARGET, wanted=False) == of_groups
    assert group.path == "/groups/42/hooks"


@pytest.mark.parametrize(
    ("changes", "verification", "fits"),
    [
        ({}, "secret-token", True),
        ({"token_present": False}, "secret-token", False),
        ({"token_present": LEFT_OUT}, "secret-token", False),
        ({"job_events": False}, "secret-token", False),
        ({"job_events": LEFT_OUT}, "secret-token", False),
        ({"push_events": True}, "secret-token", False),
        ({"an_event_of_next_year_events": True}, "secret-token", False),
        ({"push_events_branch_filter": "main"}, "secret-token", True),
        ({"enable_ssl_verification": False}, "secret-token", False),
        ({}, "signing-token", False),
        ({"signing_token_present": True}, "signing-token", True),
        ({"signing_token_present": LEFT_OUT}, "signing-token", False),  # an older GitLab
    ],
)
def test_fits_only_as_asked(
    changes: dict[str, Any], verification: Verification, fits: bool
) -> None:
    body = {name: value for name, value in (BODY | changes).items() if value is not LEFT_OUT}
    assert GitLabHook.read(body).fits(TARGET, verification) is fits


def test_health_says_until_when() -> None:
    health = GitLabHook.read(BODY).health
    assert (health.alert_status, health.is_executable) == ("temporarily_disabled", False)
    assert health.disabled_until is not None


def test_a_gitlab_without_health_is_taken_to_be_well() -> None:
    older = {name: BODY[name] for name in ("id", "url", "job_events")}
    assert GitLabHook.read(older).health.is_executable


def test_nonsense_is_refused_by_field_and_not_by_value() -> None:
    body = BODY | {"id": "hidden"}
    with pytest.raises(Transient) as caught:
        GitLabHook.read(body)
    assert caught.value.facts == {"fields": ["id"]}
    assert "hidden" not in "".join(traceback.format_exception(caught.value))
