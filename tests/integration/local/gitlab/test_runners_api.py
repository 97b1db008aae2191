"""Runner records over REST."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from gitlab.exceptions import GitlabCreateError, GitlabDeleteError

from tests.integration.local.gitlab.machine import Machine
from tests.integration.local.gitlab.site import Site

OpenSite = Callable[..., Site]


def test_a_runner_is_made_and_shows_its_token_once(site: Site) -> None:
    made = site.created_runner(
        {
            "runner_type": "instance_type",
            "description": "aws-small",
            "tag_list": ["ec2", "docker"],
            "run_untagged": False,
            "maximum_timeout": 840,
            "maintenance_note": "by the fleet",
        }
    )
    assert made["token"].startswith("glrt-")
    assert made["token_expires_at"] is None
    shown = site.client.runners.get(made["id"])
    assert (shown.description, shown.status) == ("aws-small", "never_contacted")
    assert (shown.tag_list, shown.run_untagged) == (["docker", "ec2"], False)
    assert (shown.maximum_timeout, shown.maintenance_note) == (840, "by the fleet")
    assert "token" not in shown.attributes


@pytest.mark.parametrize("tags", [["a", "b"], "a,b", "a, b"])
def test_tags_come_as_a_list_or_in_one_string(site: Site, tags: object) -> None:
    made = site.created_runner({"runner_type": "instance_type", "tag_list": tags})
    assert site.client.runners.get(made["id"]).tag_list == ["a", "b"]


def test_untagged_jobs_are_run_by_default(site: Site) -> None:
    made = site.created_runner({"runner_type": "instance_type"})
    assert site.client.runners.get(made["id"]).run_untagged


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"runner_type": "wrong_type"},
        {"runner_type": "group_type"},
        {"runner_type": "group_type", "group_id": 99},
        {"runner_type": "project_type", "project_id": 99},
        {"runner_type": "instance_type", "run_untagged": False},
        {"runner_type": "instance_type", "maximum_timeout": 5},
        {"runner_type": "instance_type", "maintenance_note": "x" * 1025},
    ],
)
def test_what_cannot_be_made(site: Site, body: dict[str, Any]) -> None:
    answer = site.call("POST", "/user/runners", json=body)
    assert answer.status_code == 400
    assert "message" in answer.json()


def test_the_plan_has_a_limit(open_site: OpenSite) -> None:
    site = open_site(group_runner_limit=1)
    site.start()
    body = {"runner_type": "group_type", "group_id": 1, "tag_list": ["a"]}
    site.created_runner(body)
    answer = site.call("POST", "/user/runners", json=body)
    assert answer.status_code == 400
    assert "(1) exceeded" in str(answer.json()["message"])


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [("api", True), ("create_runner", True), ("manage_runner", False), ("read_api", False)],
)
def test_the_scope_to_create(site: Site, scope: str, allowed: bool) -> None:
    seeded = site.start()
    number, token = site.person("dana", scope)
    site.project(seeded).members.create({"user_id": number, "access_level": 40})
    body = {"runner_type": "project_type", "project_id": seeded.id, "tag_list": ["a"]}
    answer = site.call("POST", "/user/runners", token=token, json=body)
    assert answer.status_code == (201 if allowed else 403)


@pytest.mark.parametrize(
    ("body", "role", "status"),
    [
        ({"runner_type": "instance_type"}, 50, 403),
        ({"runner_type": "group_type", "group_id": 1}, 40, 403),
        ({"runner_type": "group_type", "group_id": 1}, 50, 201),
        ({"runner_type": "project_type", "project_id": 1}, 30, 403),
        ({"runner_type": "project_type", "project_id": 1}, 40, 201),
    ],
)
def test_the_role_to_create(site: Site, body: dict[str, Any], role: int, status: int) -> None:
    site.start()
    number, token = site.person("dana", "create_runner")
    acme = site.client.groups.get("acme")
    acme.members.create({"user_id": number, "access_level": role})
    assert site.call("POST", "/user/runners", token=token, json=body).status_code == status


def test_manage_runner_manages_runners_and_nothing_else(site: Site) -> None:
    site.start()
    number, token = site.person("dana", "manage_runner", "create_runner")
    site.client.groups.get("acme").members.create({"user_id": number, "access_level": 50})
    body = {"runner_type": "group_type", "group_id": 1, "tag_list": ["a"]}
    made = site.call("POST", "/user/runners", token=token, json=body).json()
    path = f"/runners/{made['id']}"
    assert site.call("GET", path, token=token).status_code == 200
    assert site.call("PUT", path, token=token, json={"paused": True}).json()["paused"]
    assert site.call("GET", "/projects", token=token).status_code == 403
    assert site.call("DELETE", path, token=token).status_code == 204
    assert site.call("GET", path, token=token).status_code == 404


def test_the_runners_of_others_are_hidden(site: Site) -> None:
    made = site.created_runner({"runner_type": "instance_type"})
    _, token = site.person("eve", "api")
    assert site.call("GET", f"/runners/{made['id']}", token=token).status_code == 403
    assert site.call("GET", "/runners", token=token).json() == []
    assert site.call("GET", "/runners/all", token=token).status_code == 403


def test_changes_take_effect(site: Site, machine: Machine) -> None:
    site.start("unit: {tags: [gpu], script: [x]}\n")
    seen = machine.ask().headers["x-gitlab-last-update"]
    runner = site.client.runners.get(1)
    runner.tag_list = ["gpu"]
    runner.description = "with a card"
    runner.save()
    assert machine.ask(last_update=seen).status_code == 201
    assert site.client.runners.get(1).description == "with a card"


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ({"paused": True}, "paused", True),
        ({"active": False}, "paused", True),
        ({"locked": True}, "locked", True),
        ({"access_level": "ref_protected"}, "access_level", "ref_protected"),
        ({"maximum_timeout": 900}, "maximum_timeout", 900),
        ({"maximum_timeout": None}, "maximum_timeout", None),
        ({"run_untagged": False}, "run_untagged", False),
        ({"maintenance_note": "soon gone"}, "maintenance_note", "soon gone"),
    ],
)
def test_every_field_can_be_changed(
    site: Site, change: dict[str, Any], field: str, value: object
) -> None:
    site.register("ec2", maximum_timeout=600)
    assert site.call("PUT", "/runners/1", json=change).json()[field] == value


def test_a_new_token_by_id(site: Site, machine: Machine) -> None:
    answer = site.call("POST", "/runners/1/reset_authentication_token")
    assert answer.status_code == 201
    assert machine.ask().status_code == 403
    machine.token = answer.json()["token"]
    assert machine.ask().status_code == 204


def test_lists_by_place(site: Site) -> None:
    site.start()
    other = site.start(path="other/thing")
    for body in (
        {"runner_type": "instance_type"},
        {"runner_type": "group_type", "group_id": 1},
        {"runner_type": "project_type", "project_id": 1},
        {"runner_type": "project_type", "project_id": other.id},
    ):
        site.created_runner(body)
    assert ids(site, "/runners/all") == [4, 3, 2, 1]
    assert ids(site, "/projects/1/runners") == [3, 2, 1]
    assert ids(site, "/groups/acme/runners") == [2, 1]
    assert ids(site, f"/projects/{other.id}/runners") == [4, 1]


def ids(site: Site, path: str) -> list[int]:
    return [runner["id"] for runner in site.call("GET", path).json()]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("tag_list=ec2", [2, 1]),
        ("tag_list=ec2,docker", [1]),
        ("paused=true", [2]),
        ("status=online", [1]),
        ("status=never_contacted", [2]),
        ("type=group_type", []),
        ("sort=asc", [1, 2]),
    ],
)
def test_lists_are_filtered(site: Site, query: str, expected: list[int]) -> None:
    token = site.register("ec2", "docker")
    site.register("ec2", paused=True)
    with Machine(site.server.url, token) as machine:
        machine.verify()
    assert ids(site, f"/runners/all?{query}") == expected


def test_its_machines_and_jobs(site: Site, machine: Machine) -> None:
    site.start("a: {script: [x]}\nb: {script: [x]}\n")
    machine.finish("success")
    with Machine(site.server.url, machine.token, system_id="s_other") as other:
        other.take()
    managers = site.call("GET", "/runners/1/managers").json()
    assert [m["system_id"] for m in managers] == [machine.system_id, "s_other"]
    assert (managers[0]["version"], managers[0]["status"]) == ("19.4.0", "online")
    jobs = site.client.runners.get(1).jobs
    assert [job.id for job in jobs.list(get_all=True)] == [2, 1]
    (running,) = jobs.list(get_all=True, status="running")
    assert (running.id, running.project["path_with_namespace"]) == (2, "acme/platform/demo")
    assert "tag_list" not in running.attributes
    assert ids(site, "/runners/1/jobs?system_id=s_other") == [2]


def test_project_runners_can_be_shared_out(site: Site) -> None:
    first, second = site.start(), site.start(path="acme/other")
    made = site.created_runner({"runner_type": "project_type", "project_id": first.id})
    site.project(second).runners.create({"runner_id": made["id"]})
    assert ids(site, f"/projects/{second.id}/runners") == [made["id"]]
    with pytest.raises(GitlabDeleteError, match="more than one project"):
        site.client.runners.delete(made["id"])
    site.project(second).runners.delete(made["id"])
    with pytest.raises(GitlabDeleteError, match="Only one project"):
        site.project(first).runners.delete(made["id"])
    site.client.runners.delete(made["id"])


def test_only_unlocked_project_runners_can_be_shared_out(site: Site) -> None:
    first, second = site.start(), site.start(path="acme/other")
    locked = {"runner_type": "project_type", "project_id": first.id, "locked": True}
    for body in (locked, {"runner_type": "instance_type"}):
        made = site.created_runner(body)
        with pytest.raises(GitlabCreateError):
            site.project(second).runners.create({"runner_id": made["id"]})


def test_protected_runners_leave_other_branches_alone(site: Site) -> None:
    site.seed("unit: {script: [x]}\n")
    token = site.register("ec2", access_level="ref_protected")
    with Machine(site.server.url, token) as machine:
        assert machine.take()["git_info"]["protected"]
        seeded = site.client.projects.get("acme/platform/demo")
        site.server.ask(lambda w: setattr(w.accounts.projects[seeded.id], "default_branch", "x"))
        seeded.pipelines.create({"ref": "main"})
        assert machine.ask().status_code == 204
