"""Whether a GitLab token may do what a configuration needs, asked of GitLab itself."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from adapters.gitlab.client import GitLab
from adapters.gitlab.values import GitLabToken
from fleet.config.model import RunnersIn
from fleet.config.reading import FleetConfig
from fleet.errors import Refused
from fleet.trouble import DO_RENEW, ends_soon

# GitLab's roles. Source: GitLab docs, "Members API", valid access levels.
MAINTAINER, OWNER = 40, 50
ALL = "api"  # this scope includes every other that we need


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenNeed:
    """What the fleet needs of a token. `is_met` is None where GitLab does not show it."""

    need: str
    is_met: bool | None


def check_token(config: FleetConfig, gitlab: GitLab, at: datetime) -> tuple[TokenNeed, ...]:
    """What the fleet needs of the token, its user and the places that the configuration names.

    Raises `Transient` when GitLab does not answer, and `Refused` when it does not know the token.
    """
    return tuple(_needs(config, gitlab, at))


def _needs(config: FleetConfig, gitlab: GitLab, at: datetime) -> Iterator[TokenNeed]:
    token = gitlab.own_token()
    until = f", valid until {token.expires_at}" if token.expires_at else ", does not expire"
    yield TokenNeed(need=f"the token is active{until}", is_met=token.active)
    if ends_soon(token.expires_at, at):
        need = f"it is valid for two weeks more: {DO_RENEW}"
        yield TokenNeed(need=need, is_met=None)  # it works still
    for scope in config.needs_token_scopes():
        need = f"it has the scope {scope.scope}: {scope.why}"
        lacking = None if scope.is_optional else False
        yield TokenNeed(need=need, is_met=_has(token, scope.scope) or lacking)
    if not _has(token, "read_api"):
        yield TokenNeed(need="its user has the role that making runners needs", is_met=None)
        return
    yield _owner(config.gitlab.runners_in, gitlab)
    for project in config.gitlab.watch.projects:
        yield _is_there(f"project {project} is there", gitlab.project, project)
    for group in config.gitlab.watch.groups:
        yield _is_there(f"group {group} is there", gitlab.group, group)


def _has(token: GitLabToken, scope: str) -> bool:
    return scope in token.scopes or ALL in token.scopes


def _owner(where: RunnersIn, gitlab: GitLab) -> TokenNeed:
    """Whether its user may make runners where the configuration wants them."""
    if where.kind == "instance":
        return TokenNeed(need="its user is an administrator", is_met=gitlab.is_administrator())
    if where.id is None:
        need = "its user is maintainer of every project whose jobs the fleet runs"
        return TokenNeed(need=need, is_met=None)
    if where.kind == "group":
        need = f"its user is owner of group {where.id}"
        return TokenNeed(need=need, is_met=gitlab.has_group(where.id, role=OWNER))
    need = f"its user is maintainer of project {where.id}"
    try:
        return TokenNeed(need=need, is_met=gitlab.role_in_project(where.id) >= MAINTAINER)
    except Refused:
        return TokenNeed(need=need, is_met=False)


def _is_there(need: str, look: Callable[[str], object], name: str) -> TokenNeed:
    try:
        look(name)
    except Refused:
        return TokenNeed(need=need, is_met=False)
    return TokenNeed(need=need, is_met=True)
