"""Users with their tokens, groups and projects, by id and by path."""

import secrets
from datetime import datetime
from pathlib import Path

from local.gitlab.model import AccessToken, Group, Project, Role, User


class PathTaken(Exception):
    """Another group or project has this path."""


class Accounts:
    """The users, tokens, groups and projects of the instance."""

    def __init__(self, repositories: Path, *, build_timeout_s: int) -> None:
        self.users: dict[int, User] = {}
        self.tokens: dict[str, AccessToken] = {}
        self.groups: dict[int, Group] = {}
        self.projects: dict[int, Project] = {}
        self._groups_by_path: dict[str, Group] = {}
        self._projects_by_path: dict[str, Project] = {}
        self._repositories = repositories
        self._build_timeout_s = build_timeout_s

    def add_user(self, username: str, *, name: str, is_admin: bool = False) -> User:
        """A new account."""
        user = User(
            id=len(self.users) + 1,
            username=username,
            name=name,
            email=f"{username}@example.com",
            is_admin=is_admin,
        )
        self.users[user.id] = user
        return user

    def add_token(self, user: User, *, name: str, scopes: frozenset[str]) -> AccessToken:
        """A new personal access token of the user."""
        token = AccessToken(
            id=len(self.tokens) + 1,
            name=name,
            token=f"glpat-{secrets.token_hex(10)}",
            user=user,
            scopes=scopes,
        )
        self.tokens[token.token] = token
        return token

    def add_group(self, path: str, *, name: str, parent: Group | None, owner: User) -> Group:
        """A new group owned by `owner`. Raises `PathTaken`."""
        group = Group(id=len(self.groups) + 1, path=path, name=name, parent=parent)
        if self.is_taken(group.full_path):
            raise PathTaken(group.full_path)
        group.members[owner.id] = Role.OWNER
        self.groups[group.id] = self._groups_by_path[group.full_path.lower()] = group
        return group

    def add_project(self, path: str, *, name: str, group: Group, at: datetime) -> Project:
        """A new project; its repository has a path but does not exist yet. Raises `PathTaken`."""
        number = len(self.projects) + 1
        project = Project(
            id=number,
            path=path,
            name=name,
            group=group,
            repository=self._repositories / f"{number}.git",
            created_at=at,
            build_timeout_s=self._build_timeout_s,
        )
        if self.is_taken(project.full_path):
            raise PathTaken(project.full_path)
        self.projects[number] = self._projects_by_path[project.full_path.lower()] = project
        return project

    def is_taken(self, full_path: str) -> bool:
        """Whether a group or project has this path."""
        key = full_path.lower()
        return key in self._groups_by_path or key in self._projects_by_path

    def group(self, reference: str) -> Group | None:
        """The group of that id or full path."""
        if reference.isdecimal():
            return self.groups.get(int(reference))
        return self._groups_by_path.get(reference.lower())

    def project(self, reference: str) -> Project | None:
        """The project of that id or full path."""
        if reference.isdecimal():
            return self.projects.get(int(reference))
        return self._projects_by_path.get(reference.lower())

    def projects_of(self, group: Group) -> list[Project]:
        """The projects in the group and its subgroups, by id."""
        return [p for p in self.projects.values() if group in p.group.lineage]
