"""Branches and tags over REST, and which of them are protected."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from local.gitlab.api.call import READ, WRITE, ApiError, Call, Endpoint, not_found
from local.gitlab.api.paging import page_of
from local.gitlab.api.views import Json
from local.gitlab.model import Project, Role
from local.gitlab.world import GitLabWorld

_MAINTAINERS = {"id": 1, "access_level": 40, "access_level_description": "Maintainers"}


class NewRule(BaseModel):
    """Body of `POST /projects/:id/protected_branches` or `…/protected_tags`."""

    name: str = Field(min_length=1)


def _branch(project: Project, name: str, world: GitLabWorld) -> Json:
    return {
        "name": name,
        "commit": _commit(project.refs[f"refs/heads/{name}"]),
        "merged": False,
        "protected": project.is_protected(name),
        "default": name == project.default_branch,
        "can_push": True,
        "web_url": f"{world.base_url}/{project.full_path}/-/tree/{name}",
    }


def _tag(project: Project, name: str, _world: GitLabWorld) -> Json:
    return {
        "name": name,
        "message": "",
        "target": project.refs[f"refs/tags/{name}"],
        "commit": _commit(project.refs[f"refs/tags/{name}"]),
        "release": None,
        "protected": project.is_protected_tag(name),
    }


def _commit(sha: str) -> Json:
    return {"id": sha, "short_id": sha[:8]}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """Branches or tags."""

    word: str
    prefix: str
    view: Callable[[Project, str, GitLabWorld], Json]


_BRANCHES = _Kind(word="Branch", prefix="refs/heads/", view=_branch)
_TAGS = _Kind(word="Tag", prefix="refs/tags/", view=_tag)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """A name with its place in the list."""

    id: int
    name: str


def _names(refs: Iterable[str]) -> list[_Listed]:
    """By name, which GitLab's lists begin with."""
    names = sorted(refs, reverse=True)
    return [_Listed(id=number, name=name) for number, name in enumerate(names)]


async def _list(kind: _Kind, call: Call) -> Response:
    project = call.project()
    refs = (ref for ref in project.refs if ref.startswith(kind.prefix))
    names = _names(ref.removeprefix(kind.prefix) for ref in refs)
    return page_of(call.request, names, lambda entry: kind.view(project, entry.name, call.world))


async def _get(kind: _Kind, call: Call) -> Response:
    project = call.project()
    name = call.path("name")
    if kind.prefix + name not in project.refs:
        raise not_found(kind.word)
    return JSONResponse(kind.view(project, name, call.world))


def _rules(kind: _Kind, project: Project) -> dict[str, bool]:
    """The names and wildcards that are protected; True for those of a group above."""
    if kind is _TAGS:
        return dict.fromkeys(project.protected_tags, False)
    inherited = [entry for group in project.group.lineage for entry in group.protected_branches]
    return dict.fromkeys(inherited, True) | dict.fromkeys(project.own_protected_branches, False)


def _rule(kind: _Kind, name: str, *, inherited: bool) -> Json:
    if kind is _TAGS:
        return {"name": name, "create_access_levels": [_MAINTAINERS]}
    return {
        "id": 1,
        "name": name,
        "push_access_levels": [_MAINTAINERS],
        "merge_access_levels": [_MAINTAINERS],
        "allow_force_push": False,
        "inherited": inherited,
    }


async def _list_rules(kind: _Kind, call: Call) -> Response:
    rules = _rules(kind, call.project(role=Role.MAINTAINER))
    return page_of(
        call.request,
        _names(rules),
        lambda entry: _rule(kind, entry.name, inherited=rules[entry.name]),
    )


async def _get_rule(kind: _Kind, call: Call) -> Response:
    rules = _rules(kind, call.project(role=Role.MAINTAINER))
    name = call.path("name")
    if name not in rules:
        raise ApiError(404, "404 Not found")
    return JSONResponse(_rule(kind, name, inherited=rules[name]))


async def _protect(kind: _Kind, call: Call) -> Response:
    project = call.project(role=Role.MAINTAINER)
    name = (await call.body(NewRule)).name
    if not _rules(kind, project).get(name, True):
        raise ApiError(409, f"Protected {kind.word.lower()} '{name}' already exists")
    if kind is _TAGS:
        project.protected_tags.append(name)
    elif name == project.default_branch:
        project.protects_default_branch = True
    else:
        project.protected_branches.append(name)
    return JSONResponse(_rule(kind, name, inherited=False), status_code=201)


async def _unprotect(kind: _Kind, call: Call) -> Response:
    project = call.project(role=Role.MAINTAINER)
    name = call.path("name")
    if _rules(kind, project).get(name, True):
        raise ApiError(404, "404 Not found")
    if kind is _TAGS:
        project.protected_tags.remove(name)
    elif name in project.protected_branches:
        project.protected_branches.remove(name)
    else:
        project.protects_default_branch = False
    return Response(status_code=204)


def _group_rules(call: Call) -> list[str]:
    return call.group(role=Role.OWNER).protected_branches


async def list_group_rules(call: Call) -> Response:
    """GET /groups/:id/protected_branches (Premium)."""
    return page_of(
        call.request,
        _names(_group_rules(call)),
        lambda entry: _rule(_BRANCHES, entry.name, inherited=False),
    )


async def protect_in_group(call: Call) -> Response:
    """POST /groups/:id/protected_branches (Premium): for every project below."""
    rules = _group_rules(call)
    name = (await call.body(NewRule)).name
    if name in rules:
        raise ApiError(409, f"Protected branch '{name}' already exists")
    rules.append(name)
    return JSONResponse(_rule(_BRANCHES, name, inherited=False), status_code=201)


async def unprotect_in_group(call: Call) -> Response:
    """DELETE /groups/:id/protected_branches/:name (Premium)."""
    rules = _group_rules(call)
    if call.path("name") not in rules:
        raise ApiError(404, "404 Not found")
    rules.remove(call.path("name"))
    return Response(status_code=204)


Answers = Callable[[_Kind, Call], Awaitable[Response]]


def _endpoint(verb: str, path: str, handler: Answers, kind: _Kind) -> Endpoint:
    scopes = READ if verb == "GET" else WRITE
    return Endpoint(verb, path, partial(handler, kind), scopes)


def _endpoints(refs: str, rules: str, kind: _Kind) -> tuple[Endpoint, ...]:
    return (
        _endpoint("GET", f"/projects/{{project}}/repository/{refs}", _list, kind),
        _endpoint("GET", f"/projects/{{project}}/repository/{refs}/{{name}}", _get, kind),
        _endpoint("GET", f"/projects/{{project}}/{rules}", _list_rules, kind),
        _endpoint("POST", f"/projects/{{project}}/{rules}", _protect, kind),
        _endpoint("GET", f"/projects/{{project}}/{rules}/{{name}}", _get_rule, kind),
        _endpoint("DELETE", f"/projects/{{project}}/{rules}/{{name}}", _unprotect, kind),
    )


_GROUP = "/groups/{group}/protected_branches"

ENDPOINTS = (
    *_endpoints("branches", "protected_branches", _BRANCHES),
    *_endpoints("tags", "protected_tags", _TAGS),
    Endpoint("GET", _GROUP, list_group_rules, READ),
    Endpoint("POST", _GROUP, protect_in_group, WRITE),
    Endpoint("DELETE", f"{_GROUP}/{{name}}", unprotect_in_group, WRITE),
)
