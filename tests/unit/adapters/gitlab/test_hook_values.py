import traceback
from typing import Any

import pytest

from adapters.gitlab.hook_values import GitLabHook, HookTarget
from fleet.errors import Transient
from fleet.hook_scope import HookScope

PROJECT = HookScope(kind="project", id=77)
TARGET = HookTarget(scope=PROJECT, url="https://hooks.example.com/webhook")
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


def test_asks_for_job_events_and_turns_every_other_event_off() -> None:
    body = TARGET.body()
    wanted = {name for name, value in body.items() if name.endswith("_events") and value}
    unwanted = {name for name, value in body.items() if name.endswith("_events") and not value}
    assert wanted == {"job_events"}
    assert "push_events" in unwanted  # GitLab's default is true
    assert "member_events" not in unwanted  # of groups only


def test_of_a_group_has_more_events_to_turn_off() -> None:
    target = HookTarget(scope=HookScope(kind="group", id=42), url="https://h")
    assert {"member_events", "subgroup_events", "project_events"} <= set(target.body())
    assert target.path == "/groups/42/hooks"


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({}, True),
        ({"token_present": False}, False),
        ({"job_events": False}, False),
        ({"push_events": True}, False),
        ({"an_event_of_next_year_events": True}, False),
        ({"push_events_branch_filter": "main"}, True),
        ({"enable_ssl_verification": False}, False),
    ],
)
def test_fits_only_as_asked(changes: dict[str, Any], fits: bool) -> None:
    assert GitLabHook.read(BODY | changes).fits(TARGET, "secret-token") is fits


def test_a_secret_token_is_no_signing_token() -> None:
    assert not GitLabHook.read(BODY).fits(TARGET, "signing-token")
    assert GitLabHook.read(BODY | {"signing_token_present": True}).fits(TARGET, "signing-token")


@pytest.mark.parametrize("left_out", ["job_events", "token_present"])
def test_a_field_that_gitlab_leaves_out_counts_as_false(left_out: str) -> None:
    body = {name: value for name, value in BODY.items() if name != left_out}
    assert not GitLabHook.read(body).fits(TARGET, "secret-token")


def test_a_gitlab_without_signatures_shows_none() -> None:
    older = {name: value for name, value in BODY.items() if name != "signing_token_present"}
    assert not GitLabHook.read(older).fits(TARGET, "signing-token")


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
