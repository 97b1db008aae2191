"""The REST API as python-gitlab uses it."""

from __future__ import annotations

import gitlab
import pytest
from gitlab.exceptions import GitlabAuthenticationError, GitlabGetError

from tests.integration.local.gitlab.site import Site


def test_the_user_the_version_and_the_token(site: Site) -> None:
    site.client.auth()
    assert site.client.user is not None
    assert (site.client.user.username, site.client.user.is_admin) == ("root", True)
    assert site.client.version() == ("19.3.0", "simulator")
    assert site.client.personal_access_tokens.get("self").scopes == ["api"]
    with pytest.raises(GitlabGetError, match="404 Project Not Found"):
        site.client.projects.get("acme/nothing")
    with (
        gitlab.Gitlab(site.server.url, private_token="wrong") as client,
        pytest.raises(GitlabAuthenticationError),
    ):
        client.projects.get(99)


def test_groups_and_projects(site: Site) -> None:
    acme = site.client.groups.create({"name": "Acme", "path": "acme"})
    platform = site.client.groups.create(
        {"name": "Platform", "path": "platform", "parent_id": acme.id}
    )
    made = site.client.projects.create(
        {"name": "Demo", "path": "demo", "namespace_id": platform.id, "build_timeout": 900}
    )
    shown = site.client.projects.get("acme/platform/demo")
    assert shown.id == made.id == site.client.projects.get(made.id).id
    assert shown.name_with_namespace == "Acme / Platform / Demo"
    assert (shown.build_timeout, shown.default_branch) == (900, "main")
    assert shown.http_url_to_repo == f"{site.server.url}/acme/platform/demo.git"
    assert [p.id for p in acme.projects.list(get_all=True)] == []
    deep = acme.projects.list(get_all=True, include_subgroups=True)
    assert [p.id for p in deep] == [made.id]
    groups = site.client.groups.list(get_all=True, sort="asc")
    assert [group.full_path for group in groups] == ["acme", "acme/platform"]
