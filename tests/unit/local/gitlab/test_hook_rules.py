"""Webhooks over REST: records, tests, resends. The calls go in without a server.

Source: GitLab docs, "Webhooks", "Project webhooks API".
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from local.gitlab.model import Role
from local.gitlab.options import Options
from tests.unit.local.gitlab.desk import Desk
from tests.unit.webhook.deliveries import SIGNING

HOOKS = "/projects/1/hooks"
CLOSED = "http://127.0.0.1:9/"  # no process listens there


def make(desk: Desk, **rest: Any) -> Any:
    """A hook on the project."""
    return desk.call("POST", HOOKS, json={"url": CLOSED, **rest})


def send(desk: Desk, path: str = f"{HOOKS}/1/test/job_events", **rest: Any) -> int:
    """The status of a test or a resend."""
    return desk.call("POST", path, **rest).status_code


def history(desk: Desk) -> list[int]:
    """The ids of the deliveries that GitLab shows."""
    return [event["id"] for event in desk.answer("GET", f"{HOOKS}/1/events")]


@pytest.mark.parametrize(
    ("value", "is_on"),
    [
        *((value, True) for value in (True, "true", "1", "t", "yes", "on")),
        *((value, False) for value in (False, "false", "0", "no", None)),
    ],
)
def test_an_event_is_switched_in_any_spelling(desk: Desk, value: object, is_on: bool) -> None:
    made = make(desk, job_events=value, push_events=value).json()
    assert made["job_events"] is made["push_events"] is is_on


def test_an_update_needs_the_url_and_keeps_what_it_does_not_name(desk: Desk) -> None:
    make(desk, token="hush", name="fleet", job_events=True, enable_ssl_verification=False)
    assert desk.call("PUT", f"{HOOKS}/1", json={"push_events": False}).status_code == 400
    body = {
        **{"url": "http://other/", "push_events": False, "description": "ours"},
        **{"name": None, "enable_ssl_verification": None},  # null keeps the value, too
    }
    changed = desk.answer("PUT", f"{HOOKS}/1", json=body)
    assert (changed["url"], changed["push_events"]) == ("http://other/", False)
    assert (changed["name"], changed["description"]) == ("fleet", "ours")
    assert changed["job_events"] is changed["token_present"] is True
    assert changed["enable_ssl_verification"] is False


def test_an_empty_secret_removes_it(desk: Desk) -> None:
    make(desk, token="hush", signing_token=SIGNING)
    body = {"url": CLOSED, "token": "", "signing_token": ""}
    changed = desk.answer("PUT", f"{HOOKS}/1", json=body)
    assert changed["token_present"] is changed["signing_token_present"] is False


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"signing_token": "whsec_AAEC"}, id="a short token"),
        pytest.param(
            {"custom_headers": [{"key": f"X-{n}", "value": "v"} for n in range(21)]},
            id="too many headers",
        ),
    ],
)
def test_a_refused_hook_is_not_made(desk: Desk, body: dict[str, Any]) -> None:
    assert make(desk, **body).status_code == 422
    assert desk.answer("GET", HOOKS) == []


def test_a_hook_shows_the_keys_of_twenty_custom_headers(desk: Desk) -> None:
    made = make(desk, custom_headers=[{"key": f"X-{n}", "value": "v"} for n in range(20)])
    assert made.json()["custom_headers"] == [{"key": f"X-{n}"} for n in range(20)]


def test_a_deleted_hook_is_gone(desk: Desk) -> None:
    make(desk)
    assert desk.call("DELETE", f"{HOOKS}/1").status_code == 204
    assert desk.call("GET", f"{HOOKS}/1").status_code == 404
    assert make(desk).json()["id"] == 2


# --- tests and resends


def test_a_test_without_a_receiver_is_422_and_a_failure(desk: Desk) -> None:
    make(desk)
    desk.start()
    assert send(desk) == 422
    (event,) = desk.answer("GET", f"{HOOKS}/1/events")
    assert (event["trigger"], event["response_status"]) == ("job_events", "internal error")
    assert desk.world.hooks.by_id[1].failures == 1
    assert send(desk, f"{HOOKS}/1/test/nonsense") == 400


def test_a_user_may_test_five_times_a_minute_over_all_hooks(desk: Desk) -> None:
    _, other = desk.person(Role.MAINTAINER)
    paths = [f"{HOOKS}/{make(desk).json()['id']}/test/job_events" for _ in range(6)]
    desk.start()
    assert [send(desk, path) for path in paths] == [422] * 5 + [429]
    assert send(desk, token=other) == 422
    desk.world.clock.advance(timedelta(minutes=1))
    assert send(desk, paths[5]) == 422


def test_resends_are_counted_by_hook_and_beside_tests(desk: Desk) -> None:
    desk.start()
    for number in (1, 2):
        make(desk)
        send(desk, f"{HOOKS}/{number}/test/job_events")
    again = [f"{HOOKS}/{number}/events/{number}/resend" for number in (1, 2)]
    assert [send(desk, again[0]) for _ in range(6)] == [201] * 5 + [429]
    assert send(desk, again[1]) == 201


def test_deliveries_are_shown_and_resent_for_two_days(desk: Desk) -> None:
    make(desk)
    desk.start()
    send(desk)
    desk.world.clock.advance(timedelta(days=2) - timedelta(minutes=1))
    send(desk)
    assert history(desk) == [2, 1]
    desk.world.clock.advance(timedelta(minutes=2))
    assert history(desk) == [2]
    assert send(desk, f"{HOOKS}/1/events/1/resend") == 404


def test_a_resend_repeats_body_and_key_with_the_present_secrets(desk: Desk) -> None:
    make(desk, token="hush", signing_token=SIGNING)
    desk.start()
    send(desk)
    hook = desk.world.hooks.by_id[1]
    hook.token = hook.signing_token = None
    send(desk, f"{HOOKS}/1/events/1/resend")
    send(desk)
    first, again, other = (delivery.request_headers for delivery in hook.deliveries)
    secrets = {"X-Gitlab-Token", "webhook-signature"}
    assert secrets <= first.keys()
    assert not secrets & again.keys()
    assert hook.deliveries[1].body == hook.deliveries[0].body
    for name in ("Idempotency-Key", "webhook-id", "X-Gitlab-Event-UUID"):
        assert again[name] == first[name] != other[name]
    assert len({item["X-Gitlab-Webhook-UUID"] for item in (first, again, other)}) == 3
    assert first["webhook-id"] == first["Idempotency-Key"]
    shown = desk.answer("GET", f"{HOOKS}/1/events")[-1]
    assert {shown["request_headers"][name] for name in secrets} == {"[REDACTED]"}
    assert shown["request_headers"]["Idempotency-Key"] == first["Idempotency-Key"]
    assert (shown["id"], shown["execution_duration"] > 0) == (1, True)


@pytest.mark.parametrize("trigger", ["job_events", "pipeline_events"])
def test_a_group_hook_is_tested_with_the_newest_job_below(desk: Desk, trigger: str) -> None:
    desk.answer("POST", "/groups/1/hooks", json={"url": CLOSED})
    path = f"/groups/1/hooks/1/test/{trigger}"
    nothing = desk.call("POST", path)
    assert nothing.status_code == 422
    assert nothing.json()["message"] == "Ensure the project has CI jobs."
    desk.start()
    desk.start()
    send(desk, path)
    (sent,) = desk.world.hooks.by_id[1].deliveries
    assert b'"iid":2' in sent.body or b'"build_id":2' in sent.body


def test_older_gitlab_ignores_a_signing_token_and_does_not_show_it(tmp_path: Path) -> None:
    with Desk(tmp_path, Options(gitlab_version="18.11.0")) as desk:
        made = make(desk, signing_token="nonsense")
        assert made.status_code == 201
        assert "signing_token_present" not in made.json()
        desk.start()
        send(desk)
        (sent,) = desk.world.hooks.by_id[1].deliveries
        names = {name.lower() for name in sent.request_headers}
        assert not {"webhook-id", "webhook-timestamp", "webhook-signature"} & names
        assert "idempotency-key" in names
