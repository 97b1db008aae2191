"""Runner records over REST: made, limited, changed, listed, expired.

Source: GitLab docs, "Users API: create a runner linked to a user", "Runners API".
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from local.gitlab.dates import api_date
from local.gitlab.model import Role, Runner
from local.gitlab.options import Options
from tests.unit.local.gitlab.desk import Desk
from tests.unit.local.gitlab.small_gitlab import job_spec

CREATE = "/user/runners"
INSTANCE = {"runner_type": "instance_type"}
DAY = timedelta(days=1)


def make(desk: Desk, token: str = "", **body: Any) -> Any:
    return desk.call("POST", CREATE, token=token, json={**INSTANCE, **body})


def made(desk: Desk, **body: Any) -> Runner:
    answer = make(desk, **body)
    assert answer.status_code == 201, answer.text
    return desk.world.runners.by_id[answer.json()["id"]]


# --- create


def test_the_answer_is_id_token_and_expiry_and_nothing_else(desk: Desk) -> None:
    answer = make(desk, tag_list=["ec2"])
    assert answer.status_code == 201
    assert set(answer.json()) == {"id", "token", "token_expires_at"}
    assert answer.json()["token"].startswith("glrt-")
    assert len(answer.json()["token"]) == len("glrt-") + 20
    assert answer.json()["token_expires_at"] is None


def test_the_token_is_shown_once(desk: Desk) -> None:
    token = make(desk).json()["token"]
    for path in ("/runners/1", "/runners", "/runners/all", "/projects/1/runners"):
        assert token not in desk.call("GET", path).text


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        pytest.param(
            {},
            {
                **{"run_untagged": True, "paused": False, "active": True, "locked": False},
                **{"tag_list": [], "access_level": "not_protected", "maximum_timeout": None},
                **{"maintenance_note": None, "status": "never_contacted", "online": False},
            },
            id="defaults",
        ),
        pytest.param(
            {
                **{"description": "aws-small", "maintenance_note": "ours", "paused": True},
                **{"locked": True, "run_untagged": False, "tag_list": "aws, small,"},
                **{"access_level": "ref_protected", "maximum_timeout": 600},
            },
            {
                **{"description": "aws-small", "maintenance_note": "ours", "paused": True},
                **{"locked": True, "run_untagged": False, "tag_list": ["aws", "small"]},
                **{"access_level": "ref_protected", "maximum_timeout": 600, "active": False},
            },
            id="all fields",
        ),
    ],
)
def test_a_record_keeps_the_fields_of_its_creation(
    desk: Desk, body: dict[str, Any], shown: dict[str, Any]
) -> None:
    make(desk, **body)
    runner = desk.answer("GET", "/runners/1")
    assert {key: runner[key] for key in shown} == shown


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param({"maintenance_note": "x" * 1024}, 201, id="a note of 1024"),
        pytest.param({"maintenance_note": "x" * 1025}, 400, id="a longer note"),
        pytest.param({"maximum_timeout": 600}, 201, id="ten minutes"),
        pytest.param({"maximum_timeout": 599}, 400, id="less than ten minutes"),
        pytest.param({"access_level": "all"}, 400, id="another access level"),
        pytest.param({"runner_type": "shared"}, 400, id="another type"),
        pytest.param({"runner_type": "group_type"}, 400, id="a group's without its group"),
        pytest.param({"runner_type": "group_type", "project_id": 1}, 400, id="a project for it"),
        pytest.param({"runner_type": "project_type"}, 400, id="a project's without its project"),
        pytest.param({"runner_type": "project_type", "project_id": 9}, 400, id="no such project"),
        pytest.param({"runner_type": "group_type", "group_id": 1}, 201, id="a group's"),
        pytest.param({"runner_type": "project_type", "project_id": 1}, 201, id="a project's"),
        pytest.param({"run_untagged": False}, 400, id="neither tags nor untagged jobs"),
        pytest.param({"run_untagged": False, "tag_list": ["a"]}, 201, id="tags alone"),
    ],
)
def test_limits_of_a_new_record(desk: Desk, body: dict[str, Any], status: int) -> None:
    answer = make(desk, **body)
    assert answer.status_code == status, answer.text
    assert len(desk.world.runners.by_id) == (status == 201)


@pytest.mark.parametrize(
    ("kind", "role", "status"),
    [
        ("instance_type", Role.OWNER, 403),
        ("group_type", Role.MAINTAINER, 403),
        ("group_type", Role.OWNER, 201),
        ("project_type", Role.DEVELOPER, 403),
        ("project_type", Role.MAINTAINER, 201),
    ],
)
def test_creation_needs_a_role_in_its_place(desk: Desk, kind: str, role: Role, status: int) -> None:
    user, token = desk.person()
    desk.group.members[user.id] = role
    place: dict[str, Any] = {"group_id": 1} if kind == "group_type" else {"project_id": 1}
    assert make(desk, token, runner_type=kind, **place).status_code == status


def test_a_job_token_makes_no_runner(desk: Desk) -> None:
    job = desk.running()
    answer = desk.raw("POST", CREATE, headers={"JOB-TOKEN": job.token}, json=INSTANCE)
    assert answer.status_code == 401


# --- limits and ages


@pytest.mark.parametrize("kind", ["group_type", "project_type"])
def test_only_runners_of_the_last_seven_days_count(tmp_path: Path, kind: str) -> None:
    with Desk(tmp_path, Options(group_runner_limit=2, project_runner_limit=2)) as desk:
        body: dict[str, Any] = {"runner_type": kind, "group_id": 1, "project_id": 1}
        first = made(desk, **body)
        made(desk, **body)
        full = make(desk, **body)
        assert full.status_code == 400
        assert full.json()["message"]["base"][0].startswith("Maximum number of ci registered")
        assert make(desk).status_code == 201  # the instance has no such limit
        desk.world.clock.advance(7 * DAY - timedelta(minutes=1))
        desk.ask(first)
        assert make(desk, **body).status_code == 400
        desk.world.clock.advance(timedelta(minutes=2))  # the second is now too old, not the first
        assert make(desk, **body).status_code == 201
        assert make(desk, **body).status_code == 400


# --- the other calls


def test_a_change_keeps_the_fields_that_it_does_not_name(desk: Desk) -> None:
    make(desk, description="old", tag_list=["a"], maximum_timeout=700, maintenance_note="n")
    changed = desk.answer("PUT", "/runners/1", json={"paused": True, "tag_list": ["b"]})
    assert (changed["paused"], changed["active"], changed["tag_list"]) == (True, False, ["b"])
    assert (changed["description"], changed["maximum_timeout"]) == ("old", 700)
    assert changed["maintenance_note"] == "n"
    cleared = desk.answer("PUT", "/runners/1", json={"maximum_timeout": None, "tag_list": ""})
    assert (cleared["maximum_timeout"], cleared["tag_list"]) == (None, [])
    assert cleared["paused"] is True


@pytest.mark.parametrize(
    ("body", "paused"),
    [
        ({"active": False}, True),
        ({"active": True}, False),
        ({"active": False, "paused": False}, False),
    ],
)
def test_paused_overrides_the_older_active(desk: Desk, body: dict[str, bool], paused: bool) -> None:
    make(desk)
    assert desk.answer("PUT", "/runners/1", json=body)["paused"] is paused


def test_a_change_lets_waiting_runners_ask_again(desk: Desk) -> None:
    runner = made(desk, tag_list=["a"], run_untagged=False)
    desk.start(job_spec("unit", tags=("b",)))
    version = desk.ask(runner).headers["x-gitlab-last-update"]
    assert desk.ask(runner, last_update=version).status_code == 204
    desk.answer("PUT", "/runners/1", json={"tag_list": ["a", "b"]})
    assert desk.ask(runner, last_update=version).status_code == 201


def test_a_runner_is_deleted_once_and_not_while_it_serves_several_projects(desk: Desk) -> None:
    runner = made(desk, runner_type="project_type", project_id=1)
    desk.add_project("other")
    desk.answer("POST", "/projects/2/runners", json={"runner_id": runner.id})
    assert desk.call("DELETE", "/runners/1").status_code == 403
    assert desk.call("DELETE", "/projects/1/runners/1").status_code == 204
    assert desk.call("DELETE", "/projects/2/runners/1").status_code == 403
    for status in (204, 404):
        assert desk.call("DELETE", "/runners/1").status_code == status
    assert desk.ask(runner).status_code == 403


@pytest.mark.parametrize(
    ("method", "path", "scope", "is_allowed"),
    [
        ("GET", "/runners/1", "manage_runner", True),
        ("GET", "/runners/1/managers", "manage_runner", True),
        ("GET", "/runners/1/jobs", "manage_runner", True),
        ("PUT", "/runners/1", "manage_runner", True),
        ("GET", "/runners", "manage_runner", False),
        ("GET", "/projects/1/runners", "manage_runner", False),
        ("GET", "/runners/1", "read_api", True),
        ("PUT", "/runners/1", "read_api", False),
        ("DELETE", "/runners/1", "create_runner", False),
        ("DELETE", "/runners/1", "manage_runner", True),
    ],
)
def test_manage_runner_covers_only_the_paths_of_one_runner(
    desk: Desk, method: str, path: str, scope: str, is_allowed: bool
) -> None:
    make(desk, runner_type="project_type", project_id=1)
    _, token = desk.person(Role.MAINTAINER, scope)
    assert desk.call(method, path, token=token).is_success is is_allowed


def test_a_runner_lists_its_jobs_by_state_and_machine(desk: Desk) -> None:
    runner = made(desk)
    desk.start(job_spec("a"), job_spec("b"), job_spec("c"))
    for name in ("s_1", "s_2"):
        desk.ask(runner, system_id=name)
    desk.report(desk.world.ci.jobs[1], "success")

    def listed(query: str = "") -> list[int]:
        return [job["id"] for job in desk.answer("GET", f"/runners/1/jobs{query}")]

    assert listed() == [2, 1]
    assert listed("?sort=asc") == [1, 2]
    assert listed("?status=running") == [2]
    assert listed("?system_id=s_1") == [1]
    assert listed("?system_id=s_1&status=running") == []


def test_a_runner_lists_its_machines_with_status_and_contact(desk: Desk) -> None:
    runner = made(desk)
    desk.ask(runner, system_id="s_1", info={"version": "19.4.0", "platform": "linux"})
    desk.world.clock.advance(timedelta(hours=3))
    desk.ask(runner, system_id="s_2", info={"version": "19.5.0"})
    first, second = desk.answer("GET", "/runners/1/managers")
    assert (first["system_id"], first["status"], first["version"]) == ("s_1", "offline", "19.4.0")
    assert (second["system_id"], second["status"]) == ("s_2", "online")
    assert first["ip_address"] == "127.0.0.1"
    assert first["platform"] == "linux"
    newest = desk.answer("GET", "/runners/1")
    assert (newest["version"], newest["platform"]) == ("19.5.0", None)


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", [3, 2, 1]),
        ("tag_list=a", [2, 1]),
        ("tag_list=a,b", [2]),
        ("paused=true", [3]),
        ("paused=false", [2, 1]),
        ("type=project_type", [2]),
        ("status=online", [1]),
        ("status=never_contacted", [3, 2]),
        ("status=stale", []),
    ],
)
def test_lists_are_filtered(desk: Desk, query: str, ids: list[int]) -> None:
    first = made(desk, tag_list=["a"])
    made(desk, tag_list=["a", "b"], runner_type="project_type", project_id=1)
    made(desk, paused=True)
    desk.ask(first)
    assert [runner["id"] for runner in desk.answer("GET", f"/runners/all?{query}")] == ids


def test_administrators_list_all_runners_and_users_those_they_manage(desk: Desk) -> None:
    made(desk)
    made(desk, runner_type="project_type", project_id=1)
    made(desk, runner_type="group_type", group_id=1)
    user, token = desk.person(Role.MAINTAINER)
    assert desk.call("GET", "/runners/all", token=token).status_code == 403
    assert [r["id"] for r in desk.answer("GET", "/runners", token=token)] == [2]
    assert desk.call("GET", "/runners/3", token=token).status_code == 403
    desk.group.members[user.id] = Role.OWNER
    assert [r["id"] for r in desk.answer("GET", "/runners", token=token)] == [3, 2]
    assert [r["id"] for r in desk.answer("GET", "/groups/1/runners", token=token)] == [3, 1]
    assert [r["id"] for r in desk.answer("GET", "/projects/1/runners", token=token)] == [3, 2, 1]


def test_only_an_unlocked_project_runner_is_assigned(desk: Desk) -> None:
    made(desk)
    made(desk, runner_type="project_type", project_id=1, locked=True)
    for number in (1, 2):
        assign = desk.call("POST", "/projects/1/runners", json={"runner_id": number})
        assert assign.status_code == 403
    assert desk.call("POST", "/projects/1/runners", json={"runner_id": 9}).status_code == 404
    assert desk.call("DELETE", "/projects/1/runners/1").status_code == 404


def test_a_runner_is_active_while_a_job_runs(desk: Desk) -> None:
    runner = made(desk)
    desk.start()
    assert desk.answer("GET", "/runners/1")["job_execution_status"] == "idle"
    desk.ask(runner)
    assert desk.answer("GET", "/runners/1")["job_execution_status"] == "active"
    desk.report(desk.world.ci.jobs[1], "failed")
    assert desk.answer("GET", "/runners/1")["job_execution_status"] == "idle"


# --- tokens that expire


INTERVALS = {
    "instance_type": "runner_token_expiration_interval",
    "group_type": "group_runner_token_expiration_interval",
    "project_type": "project_runner_token_expiration_interval",
}


@pytest.mark.parametrize("kind", INTERVALS)
def test_a_token_expires_after_the_interval_of_the_administrator(desk: Desk, kind: str) -> None:
    settings = desk.answer("PUT", "/application/settings", json={INTERVALS[kind]: 7200})
    assert settings == dict.fromkeys(INTERVALS.values()) | {INTERVALS[kind]: 7200}
    place = {"group_type": {"group_id": 1}, "project_type": {"project_id": 1}}.get(kind, {})
    body = {"runner_type": kind, **place}
    new = desk.call("POST", CREATE, json=body).json()
    ends = desk.world.runners.by_id[new["id"]].token_expires_at
    assert ends is not None
    assert new["token_expires_at"] == api_date(ends)
    shown = desk.raw("POST", "/runners/verify", json={"token": new["token"]}).json()
    assert shown["token_expires_at"] == new["token_expires_at"]
    desk.world.clock.advance(timedelta(hours=2))
    for path in ("/runners/verify", "/jobs/request", "/runners/reset_authentication_token"):
        assert desk.raw("POST", path, json={"token": new["token"]}).status_code == 403
    reset = desk.answer("POST", f"/runners/{new['id']}/reset_authentication_token")
    assert desk.raw("POST", "/runners/verify", json={"token": new["token"]}).status_code == 403
    assert reset["token_expires_at"] > new["token_expires_at"]
    assert desk.raw("POST", "/runners/verify", json={"token": reset["token"]}).status_code == 200
    desk.answer("PUT", "/application/settings", json={INTERVALS[kind]: None})
    assert desk.call("POST", CREATE, json=body).json()["token_expires_at"] is None


def test_only_an_administrator_sets_a_positive_expiry(desk: Desk) -> None:
    body = {"runner_token_expiration_interval": 0}
    assert desk.call("PUT", "/application/settings", json=body).status_code == 400
    _, token = desk.person(Role.OWNER)
    body = {"runner_token_expiration_interval": 9}
    assert desk.call("PUT", "/application/settings", token=token, json=body).status_code == 403
