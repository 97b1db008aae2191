"""Users, groups and projects by id and by path, and the roles of users."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from local.gitlab.accounts import Accounts, PathTaken
from local.gitlab.model import Group, Project, Role, User
from tests.unit.local.gitlab.small_gitlab import NOON


@dataclass(frozen=True)
class Scene:
    """The project `acme/platform/demo`, and the owner of its groups."""

    accounts: Accounts
    owner: User
    acme: Group
    platform: Group
    demo: Project


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    accounts = Accounts(tmp_path, build_timeout_s=3600)
    owner = accounts.add_user("dana", name="Dana Roe")
    acme = accounts.add_group("acme", name="Acme", parent=None, owner=owner)
    platform = accounts.add_group("platform", name="Platform", parent=acme, owner=owner)
    demo = accounts.add_project("demo", name="Demo", group=platform, at=NOON)
    return Scene(accounts, owner, acme, platform, demo)


def test_paths_and_names_run_through_all_groups(scene: Scene, tmp_path: Path) -> None:
    demo = scene.demo
    assert demo.full_path == "acme/platform/demo"
    assert demo.full_name == "Acme / Platform / Demo"
    assert demo.group.lineage == (scene.platform, scene.acme)
    assert (demo.repository, demo.build_timeout_s) == (tmp_path / "1.git", 3600)


@pytest.mark.parametrize(
    ("reference", "project", "group"),
    [
        ("1", "acme/platform/demo", "acme"),
        ("2", None, "acme/platform"),
        ("acme/platform/demo", "acme/platform/demo", None),
        ("Acme/Platform/Demo", "acme/platform/demo", None),
        ("acme/platform", None, "acme/platform"),
        ("acme", None, "acme"),
        ("demo", None, None),
        ("", None, None),
    ],
)
def test_an_id_or_a_whole_path_names_a_project_or_a_group(
    scene: Scene, reference: str, project: str | None, group: str | None
) -> None:
    named = (scene.accounts.project(reference), scene.accounts.group(reference))
    assert [item and item.full_path for item in named] == [project, group]


def test_a_path_belongs_to_one_project_or_group(scene: Scene) -> None:
    with pytest.raises(PathTaken, match="acme/platform/Demo"):
        scene.accounts.add_project("Demo", name="Demo", group=scene.platform, at=NOON)
    with pytest.raises(PathTaken):
        scene.accounts.add_group("demo", name="Demo", parent=scene.platform, owner=scene.owner)
    assert scene.accounts.is_taken(scene.demo.full_path)


def test_projects_of_a_group_include_those_of_its_subgroups(scene: Scene) -> None:
    accounts = scene.accounts
    top = accounts.add_project("top", name="Top", group=scene.acme, at=NOON)
    other = accounts.add_group("other", name="Other", parent=None, owner=scene.owner)
    accounts.add_project("alien", name="Alien", group=other, at=NOON)
    assert accounts.projects_of(scene.acme) == [scene.demo, top]
    assert accounts.projects_of(scene.platform) == [scene.demo]


def test_a_role_comes_from_the_project_and_every_group_above(scene: Scene) -> None:
    acme, demo, eve = scene.acme, scene.demo, scene.accounts.add_user("eve", name="Eve")
    assert (scene.owner.id, eve.id) == (1, 2)
    assert (demo.role_of(scene.owner), demo.role_of(eve)) == (Role.OWNER, Role.NONE)
    acme.members[eve.id] = Role.REPORTER
    assert demo.role_of(eve) is Role.REPORTER
    demo.members[eve.id] = Role.MAINTAINER
    assert (demo.role_of(eve), acme.role_of(eve)) == (Role.MAINTAINER, Role.REPORTER)


def test_tokens_carry_their_scopes(scene: Scene) -> None:
    tokens = [
        scene.accounts.add_token(scene.owner, name="ci", scopes=frozenset({scope}))
        for scope in ("read_api", "api")
    ]
    assert [token.id for token in tokens] == [1, 2]
    assert tokens[0].token.startswith("glpat-")
    assert scene.accounts.tokens[tokens[0].token].scopes == {"read_api"}
