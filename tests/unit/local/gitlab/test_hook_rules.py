"""Tests and resends of webhooks over REST. Other rules: `rest/hooks.txt`.

Source: GitLab docs, "Webhooks", "Project webhooks API".
"""

from pathlib import Path
from typing import Any

import pytest

from local.gitlab.options import Options
from tests.unit.local.gitlab.desk import Desk
from tests.unit.webhook.deliveries import SIGNING

HOOKS = "/projects/1/hooks"
CLOSED = "http://127.0.0.1:9/"  # no process listens there


def make(desk: Desk, **rest: Any) -> Any:
    return desk.call("POST", HOOKS, json={"url": CLOSED, **rest})


def send(desk: Desk, path: str = f"{HOOKS}/1/test/job_events") -> int:
    return desk.call("POST", path).status_code


def test_a_hook_shows_the_keys_of_twenty_custom_headers_at_most(desk: Desk) -> None:
    headers = [{"key": f"X-{n}", "value": "v"} for n in range(21)]
    assert make(desk, custom_headers=headers).status_code == 422
    made = make(desk, custom_headers=headers[:20])
    assert made.json()["custom_headers"] == [{"key": f"X-{n}"} for n in range(20)]


def test_a_resend_repeats_body_and_key_with_the_present_secrets(desk: Desk) -> None:
    make(desk, token="hush", signing_token=SIGNING)
    desk.start()
    send(desk)
    hook = desk.world.hooks.by_id[1]
    assert hook.failures == 1
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
    desk.start()
    desk.start()
    send(desk, f"/groups/1/hooks/1/test/{trigger}")
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
