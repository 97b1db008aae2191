"""Tokens of runner records over REST: shown once, and expired. Other rules: `rest/runners.txt`.

Source: GitLab docs, "Users API: create a runner linked to a user", "Runners API".
"""

import re
from datetime import timedelta
from typing import Any

import pytest

from local.gitlab.dates import api_date
from tests.unit.local.gitlab.desk import Desk

CREATE = "/user/runners"
INTERVALS = {
    "instance_type": "runner_token_expiration_interval",
    "group_type": "group_runner_token_expiration_interval",
    "project_type": "project_runner_token_expiration_interval",
}
OWNERS: dict[str, dict[str, Any]] = {
    "group_type": {"group_id": 1},
    "project_type": {"project_id": 1},
}


def test_the_answer_is_id_token_and_expiry_and_the_token_is_not_shown_again(desk: Desk) -> None:
    made = desk.answer("POST", CREATE, json={"runner_type": "instance_type"})
    assert set(made) == {"id", "token", "token_expires_at"}
    assert re.fullmatch("glrt-.{20}", made["token"])
    for path in ("/runners/1", "/runners", "/runners/all", "/projects/1/runners"):
        assert made["token"] not in desk.call("GET", path).text


@pytest.mark.parametrize("kind", INTERVALS)
def test_a_token_expires_after_the_interval_of_the_administrator(desk: Desk, kind: str) -> None:
    def status(path: str, token: str) -> int:
        return desk.raw("POST", path, json={"token": token}).status_code

    settings = desk.answer("PUT", "/application/settings", json={INTERVALS[kind]: 7200})
    assert settings == dict.fromkeys(INTERVALS.values()) | {INTERVALS[kind]: 7200}
    body = {"runner_type": kind, **OWNERS.get(kind, {})}
    new = desk.answer("POST", CREATE, json=body)
    ends = desk.world.runners.by_id[new["id"]].token_expires_at
    assert ends is not None
    shown = desk.raw("POST", "/runners/verify", json={"token": new["token"]}).json()
    assert new["token_expires_at"] == shown["token_expires_at"] == api_date(ends)
    desk.world.clock.advance(timedelta(hours=2))
    for path in ("/runners/verify", "/jobs/request", "/runners/reset_authentication_token"):
        assert status(path, new["token"]) == 403
    reset = desk.answer("POST", f"/runners/{new['id']}/reset_authentication_token")
    assert status("/runners/verify", new["token"]) == 403
    assert reset["token_expires_at"] > new["token_expires_at"]
    assert status("/runners/verify", reset["token"]) == 200
    desk.answer("PUT", "/application/settings", json={INTERVALS[kind]: None})
    assert desk.answer("POST", CREATE, json=body)["token_expires_at"] is None


def test_a_runner_replaces_its_own_token(desk: Desk) -> None:
    old = desk.register().token
    path = "/runners/reset_authentication_token"
    answer = desk.raw("POST", path, json={"token": old})
    assert (answer.status_code, answer.json()["token_expires_at"]) == (201, None)
    assert answer.json()["token"].startswith("glrt-")
    assert desk.raw("POST", path, json={"token": old}).status_code == 403


def test_a_token_in_query_body_or_header_deletes_the_whole_runner(desk: Desk) -> None:
    body, query, header = desk.register(), desk.register(), desk.register()
    for arguments in (
        {"params": {"token": query.token}},
        {"json": {"token": body.token}},
        {"headers": {"RUNNER-TOKEN": header.token}},
    ):
        assert desk.raw("DELETE", "/runners", **arguments).status_code == 204
        assert desk.raw("DELETE", "/runners", **arguments).status_code == 403
    assert not desk.world.runners.by_id
