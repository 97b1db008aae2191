"""Users, groups and projects by id and by path, and what people may do."""

from __future__ import annotations

from pathlib import Path

import pytest

from local.gitlab.accounts import Accounts, PathTaken
from local.gitlab.model import Group, Project, Role, User
from tests.unit.local.gitlab.small_gitlab import NOON


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    return Accounts(tmp_path, build_timeout_s=3600)


@pytest.fixture
def owner(accounts: Accounts) -> User:
    return accounts.add_user("dana", name="Dana Roe")


@pytest.fixture
def acme(accounts: Accounts, owner: User) -> Group:
    return accounts.add_group("acme", name="Acme", parent=None, owner=owner)


@pytest.fixture
def platform(accounts: Accounts, owner: User, acme: Group) -> Group:
    return accounts.add_group("platform", name="Platform", parent=acme, owner=owner)


@pytest.fixture
def demo(accounts: Accounts, platform: Group) -> Project:
    return accounts.add_project("demo", name="Demo", group=platform, at=NOON)


def test_paths_and_names_run_through_all_groups(demo: Project) -> None:
    assert demo.full_path == "acme/platform/demo"
    assert demo.full_name == "Acme / Platform / Demo"
    assert [group.path for group in demo.group.lineage] == ["platform", "acme"]


def test_a_project_has_a_repository_by_its_id(demo: Project, tmp_path: Path) -> None:
    assert demo.repository == tmp_path / "1.git"
    assert demo.build_timeout_s == 3600


@pytest.mark.parametrize("reference", ["1", "acme/platform/demo", "Acme/Platform/Demo"])
def test_a_project_is_found_by_id_or_path(
    accounts: Accounts, demo: Project, reference: str
) -> None:
    assert accounts.project(reference) is demo


@pytest.mark.parametrize("reference", ["2", "demo", "acme/platform", ""])
def test_what_is_not_a_project_is_not_found(
    accounts: Accounts, demo: Project, reference: str
) -> None:
    assert demo.id == 1
    assert accounts.project(reference) is None


@pytest.mark.parametrize(
    ("reference", "path"), [("1", "acme"), ("acme", "acme"), ("acme/platform", "acme/platform")]
)
def test_a_group_is_found_by_id_or_path(
    accounts: Accounts, platform: Group, reference: str, path: str
) -> None:
    assert platform.id == 2
    found = accounts.group(reference)
    assert found is not None
    assert found.full_path == path


def test_a_path_belongs_to_one_thing(
    accounts: Accounts, owner: User, demo: Project, platform: Group
) -> None:
    with pytest.raises(PathTaken, match="acme/platform/Demo"):
        accounts.add_project("Demo", name="Demo", group=platform, at=NOON)
    with pytest.raises(PathTaken):
        accounts.add_group("demo", name="Demo", parent=platform, owner=owner)
    assert accounts.is_taken(demo.full_path)


def test_projects_of_a_group_include_those_of_its_subgroups(
    accounts: Accounts, owner: User, acme: Group, demo: Project
) -> None:
    top = accounts.add_project("top", name="Top", group=acme, at=NOON)
    other = accounts.add_group("other", name="Other", parent=None, owner=owner)
    accounts.add_project("alien", name="Alien", group=other, at=NOON)
    assert accounts.projects_of(acme) == [demo, top]
    assert accounts.projects_of(demo.group) == [demo]


def test_roles_come_from_the_project_and_every_group_above(
    accounts: Accounts, acme: Group, demo: Project, owner: User
) -> None:
    eve = accounts.add_user("eve", name="Eve")
    assert demo.role_of(owner) is Role.OWNER
    assert demo.role_of(eve) is Role.NONE
    acme.members[eve.id] = Role.REPORTER
    assert demo.role_of(eve) is Role.REPORTER
    demo.members[eve.id] = Role.MAINTAINER
    assert demo.role_of(eve) is Role.MAINTAINER
    assert acme.role_of(eve) is Role.REPORTER


def test_tokens_carry_their_scopes(accounts: Accounts, owner: User) -> None:
    first = accounts.add_token(owner, name="ci", scopes=frozenset({"read_api"}))
    second = accounts.add_token(owner, name="ci", scopes=frozenset({"api"}))
    assert first.token.startswith("glpat-")
    assert (first.id, second.id) == (1, 2)
    assert accounts.tokens[first.token].scopes == {"read_api"}
