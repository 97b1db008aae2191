"""The REST API as python-gitlab uses it, and what it refuses."""

from __future__ import annotations

from typing import Any

import gitlab
import pytest
from gitlab.exceptions import (
    GitlabAuthenticationError,
    GitlabGetError,
)

from tests.integration.local.gitlab.machine import Machine
from tests.integration.local.gitlab.site import Site


def test_the_user_the_version_and_the_token(site: Site) -> None:
    site.client.auth()
    assert site.client.user is not None
    assert (site.client.user.username, site.client.user.is_admin) == ("root", True)
    assert site.client.version() == ("19.3.0", "simulator")
    own = site.client.personal_access_tokens.get("self")
    assert own.scopes == ["api"]


@pytest.mark.parametrize(
    ("role", "method", "path", "status"),
    [
        pytest.param(0, "GET", "/projects/1", 404, id="hidden from strangers"),
        pytest.param(10, "GET", "/projects/1", 200, id="a guest sees it"),
        pytest.param(10, "GET", "/projects/1/jobs", 403, id="but not its jobs"),
        pytest.param(20, "GET", "/projects/1/jobs", 200, id="a reporter does"),
        pytest.param(20, "POST", "/projects/1/jobs/1/cancel", 403, id="but cancels nothing"),
        pytest.param(30, "POST", "/projects/1/jobs/1/cancel", 201, id="a developer does"),
        pytest.param(30, "GET", "/projects/1/hooks", 403, id="but sees no hooks"),
        pytest.param(40, "GET", "/projects/1/hooks", 200, id="a maintainer does"),
        pytest.param(40, "GET", "/groups/acme/hooks", 404, id="of the project only"),
    ],
)
def test_roles(site: Site, role: int, method: str, path: str, status: int) -> None:
    seeded = site.start()
    number, token = site.person("dana", "api")
    if role:
        site.project(seeded).members.create({"user_id": number, "access_level": role})
    assert site.call(method, path, token=token).status_code == status


def test_unknown_addresses_are_404(site: Site) -> None:
    assert site.call("GET", "/nonsense").json() == {"error": "404 Not Found"}
    with pytest.raises(GitlabGetError, match="404 Project Not Found"):
        site.client.projects.get("acme/nothing")


def test_groups_and_projects(site: Site) -> None:
    acme = site.client.groups.create({"name": "Acme", "path": "acme"})
    platform = site.client.groups.create(
        {"name": "Platform", "path": "platform", "parent_id": acme.id}
    )
    made = site.client.projects.create(
        {"name": "Demo", "path": "demo", "namespace_id": platform.id, "build_timeout": 900}
    )
    found = site.client.projects.get("acme/platform/demo")
    assert found.id == made.id == site.client.projects.get(made.id).id
    assert found.name_with_namespace == "Acme / Platform / Demo"
    assert (found.build_timeout, found.default_branch) == (900, "main")
    assert found.http_url_to_repo == f"{site.server.url}/acme/platform/demo.git"
    assert [p.id for p in acme.projects.list(get_all=True)] == []
    deep = acme.projects.list(get_all=True, include_subgroups=True)
    assert [p.id for p in deep] == [made.id]
    assert [g.full_path for g in site.client.groups.list(get_all=True, sort="asc")] == [
        "acme",
        "acme/platform",
    ]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/groups", {"name": "Acme", "path": "acme"}, 400),
        ("/groups", {"name": "Acme"}, 400),
        ("/groups", {"name": "x", "path": "x y"}, 400),
        ("/groups", {"name": "x", "path": "x", "parent_id": 99}, 404),
        ("/projects", {"name": "demo", "namespace_id": 2}, 400),
        ("/projects", {"name": "x", "namespace_id": 99}, 404),
        ("/projects", {}, 400),
    ],
)
def test_what_cannot_be_created(site: Site, path: str, body: dict[str, Any], status: int) -> None:
    site.start()
    answer = site.call("POST", path, json=body)
    assert answer.status_code == status
    assert "message" in answer.json()


def test_project_settings_change_what_runners_get(site: Site, machine: Machine) -> None:
    seeded = site.start("a: {script: [x]}\nb: {script: [x]}\n")
    project = site.project(seeded)
    project.build_timeout = 300
    project.shared_runners_enabled = False
    project.save()
    assert machine.ask().status_code == 204
    project.shared_runners_enabled = True
    project.save()
    assert machine.take()["runner_info"]["timeout"] == 300


def test_calls_are_authenticated_before_anything_else(site: Site) -> None:
    with (
        gitlab.Gitlab(site.server.url, private_token="wrong") as client,
        pytest.raises(GitlabAuthenticationError),
    ):
        client.projects.get(99)
