"""Roles, unknown addresses, and bad groups and projects over REST."""

from __future__ import annotations

from typing import Any

import pytest

from local.gitlab.model import Role
from tests.unit.local.gitlab.desk import Desk


@pytest.mark.parametrize(
    ("role", "method", "path", "status"),
    [
        pytest.param(None, "GET", "/projects/1", 404, id="hidden from strangers"),
        pytest.param(10, "GET", "/projects/1", 200, id="a guest sees it"),
        pytest.param(10, "GET", "/projects/1/jobs", 403, id="but not its jobs"),
        pytest.param(20, "GET", "/projects/1/jobs", 200, id="a reporter does"),
        pytest.param(20, "POST", "/projects/1/jobs/1/cancel", 403, id="but cancels nothing"),
        pytest.param(30, "POST", "/projects/1/jobs/1/cancel", 201, id="a developer does"),
        pytest.param(30, "GET", "/projects/1/hooks", 403, id="but sees no hooks"),
        pytest.param(40, "GET", "/projects/1/hooks", 200, id="a maintainer does"),
        pytest.param(40, "GET", "/groups/acme/hooks", 404, id="of the project only"),
        pytest.param(20, "POST", "/projects/1/pipeline", 403, id="a reporter starts nothing"),
        pytest.param(30, "POST", "/projects/1/pipeline", 400, id="a developer needs a ref"),
        pytest.param(20, "POST", "/projects/1/merge_requests", 403, id="and asks for no merge"),
        pytest.param(20, "GET", "/projects/1/merge_requests", 200, id="but sees them"),
        pytest.param(30, "GET", "/projects/1/variables", 403, id="a developer sees no variables"),
        pytest.param(40, "GET", "/projects/1/variables", 200, id="a maintainer sees them"),
    ],
)
def test_roles(desk: Desk, role: int | None, method: str, path: str, status: int) -> None:
    desk.start()
    user, token = desk.person()
    if role is not None:
        body = {"user_id": user.id, "access_level": role}
        assert desk.call("POST", "/projects/1/members", json=body).status_code == 201
        assert desk.project.role_of(user) is Role(role)
    assert desk.call(method, path, token=token).status_code == status


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nonsense", None, 404),
        ("GET", "/projects/acme%2Fnothing", None, 404),
        ("POST", "/groups", {"name": "Acme", "path": "acme"}, 400),
        ("POST", "/groups", {"name": "Acme"}, 400),
        ("POST", "/groups", {"name": "x", "path": "x y"}, 400),
        ("POST", "/groups", {"name": "x", "path": "x", "parent_id": 99}, 404),
        ("POST", "/projects", {"name": "demo", "namespace_id": 1}, 400),
        ("POST", "/projects", {"name": "x", "namespace_id": 99}, 404),
        ("POST", "/projects", {}, 400),
    ],
)
def test_an_unknown_or_bad_call_is_refused_with_a_message(
    desk: Desk, method: str, path: str, body: dict[str, Any] | None, status: int
) -> None:
    answer = desk.call(method, path, json=body)
    assert answer.status_code == status
    assert {"message", "error"} & set(answer.json())
    assert desk.raw(method, path, headers={"PRIVATE-TOKEN": "wrong"}).status_code in (401, 404)


def test_project_settings_change_the_jobs_of_runners(desk: Desk) -> None:
    desk.start()
    runner = desk.register()
    off = {"build_timeout": 300, "shared_runners_enabled": False}
    assert desk.answer("PUT", "/projects/1", json=off)["build_timeout"] == 300
    assert desk.ask(runner).status_code == 204
    desk.answer("PUT", "/projects/1", json={"shared_runners_enabled": True})
    assert desk.ask(runner).json()["runner_info"]["timeout"] == 300
