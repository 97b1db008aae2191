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
class TokenClaim:
    """A claim that must hold. `holds` is None where GitLab does not show it."""

    claim: str
    holds: bool | None


def check_token(config: FleetConfig, gitlab: GitLab, at: datetime) -> tuple[TokenClaim, ...]:
    """Every claim about the token, its user and the places that the configuration names.

    Raises `Transient` when GitLab does not answer, and `Refused` when it does not know the token.
    """
    return tuple(_claims(config, gitlab, at))


def _claims(config: FleetConfig, gitlab: GitLab, at: datetime) -> Iterator[TokenClaim]:
    token = gitlab.own_token()
    until = f", valid until {token.expires_at}" if token.expires_at else ", does not expire"
    yield TokenClaim(claim=f"the token is active{until}", holds=token.active)
    if ends_soon(token.expires_at, at):
        claim = f"it is valid for two weeks more: {DO_RENEW}"
        yield TokenClaim(claim=claim, holds=None)  # it works still
    for need in config.needs_token_scopes():
        claim = f"it has the scope {need.scope}: {need.why}"
        lacking = None if need.is_optional else False
        yield TokenClaim(claim=claim, holds=_has(token, need.scope) or lacking)
    if not _has(token, "read_api"):
        yield TokenClaim(claim="its user has the role that making runners needs", holds=None)
        return
    yield _owner(config.gitlab.runners_in, gitlab)
    for project in config.gitlab.watch.projects:
        yield _is_there(f"project {project} is there", gitlab.project, project)
    for group in config.gitlab.watch.groups:
        yield _is_there(f"group {group} is there", gitlab.group, group)


def _has(token: GitLabToken, scope: str) -> bool:
    return scope in token.scopes or ALL in token.scopes


def _owner(where: RunnersIn, gitlab: GitLab) -> TokenClaim:
    """Whether its user may make runners where the configuration wants them."""
    if where.kind == "instance":
        return TokenClaim(claim="its user is an administrator", holds=gitlab.is_administrator())
    if where.id is None:
        claim = "its user is maintainer of every project whose jobs the fleet runs"
        return TokenClaim(claim=claim, holds=None)
    if where.kind == "group":
        claim = f"its user is owner of group {where.id}"
        return TokenClaim(claim=claim, holds=gitlab.has_group(where.id, role=OWNER))
    claim = f"its user is maintainer of project {where.id}"
    try:
        return TokenClaim(claim=claim, holds=gitlab.role_in_project(where.id) >= MAINTAINER)
    except Refused:
        return TokenClaim(claim=claim, holds=False)


def _is_there(claim: str, look: Callable[[str], object], name: str) -> TokenClaim:
    try:
        look(name)
    except Refused:
        return TokenClaim(claim=claim, holds=False)
    return TokenClaim(claim=claim, holds=True)
