"""Users, their tokens, groups and who belongs to what, over REST."""

from typing import Any

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from local.gitlab.accounts import PathTaken
from local.gitlab.api.call import READ, WRITE, ApiError, Call, Endpoint, forbidden, not_found
from local.gitlab.api.paging import page_of
from local.gitlab.api.views import group_view, user_view
from local.gitlab.model import AccessToken, Role

# The defaults of GitLab itself, of what concerns runners.
_PLAN_LIMITS = {"ci_registered_group_runners": 1000, "ci_registered_project_runners": 1000}
_USER_SCOPES = READ | {"read_user"}


class NewGroup(BaseModel):
    """Body of `POST /groups`."""

    path: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    name: str
    parent_id: int | None = None


class NewUser(BaseModel):
    """Body of `POST /users`."""

    username: str
    name: str
    email: str = ""
    admin: bool = False


class NewToken(BaseModel):
    """Body of `POST /users/:id/personal_access_tokens`."""

    name: str
    scopes: list[str]


class NewMember(BaseModel):
    """Body of `POST …/members`."""

    user_id: int
    access_level: Role


async def get_user(call: Call) -> Response:
    """GET /user."""
    user = call.user
    extra: dict[str, Any] = {"email": user.email, "is_admin": user.is_admin}
    return JSONResponse({**user_view(user, call.world), **extra})


async def get_version(call: Call) -> Response:
    """GET /version."""
    return JSONResponse({"version": call.world.options.gitlab_version, "revision": "simulator"})


async def get_plan_limits(call: Call) -> Response:
    """GET /application/plan_limits: administrators only. Source: GitLab, "Plan limits API"."""
    if not call.user.is_admin:
        raise forbidden()
    return JSONResponse(_PLAN_LIMITS)


async def create_user(call: Call) -> Response:
    """POST /users: administrators only."""
    if not call.user.is_admin:
        raise forbidden()
    wanted = await call.body(NewUser)
    user = call.world.accounts.add_user(wanted.username, name=wanted.name, is_admin=wanted.admin)
    return JSONResponse(user_view(user, call.world), status_code=201)


async def create_token(call: Call) -> Response:
    """POST /users/:id/personal_access_tokens: the only answer that shows the token."""
    if not call.user.is_admin:
        raise forbidden()
    user = call.world.accounts.users.get(call.number("user"))
    if user is None:
        raise not_found("User")
    wanted = await call.body(NewToken)
    token = call.world.accounts.add_token(user, name=wanted.name, scopes=frozenset(wanted.scopes))
    return JSONResponse({**_token_view(token), "token": token.token}, status_code=201)


async def get_own_token(call: Call) -> Response:
    """GET /personal_access_tokens/self."""
    if call.caller is None:
        raise ApiError(401, "401 Unauthorized")
    return JSONResponse(_token_view(call.caller))


def _token_view(token: AccessToken) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "scopes": sorted(token.scopes),
        "user_id": token.user.id,
        "active": True,
        "revoked": False,
        "expires_at": None,
    }


async def add_member(call: Call) -> Response:
    """POST /projects/:id/members and /groups/:id/members."""
    owner = call.owner()
    wanted = await call.body(NewMember)
    user = call.world.accounts.users.get(wanted.user_id)
    if user is None:
        raise not_found("User")
    owner.members[user.id] = wanted.access_level
    view = {**user_view(user, call.world), "access_level": int(wanted.access_level)}
    return JSONResponse(view, status_code=201)


async def create_group(call: Call) -> Response:
    """POST /groups."""
    wanted = await call.body(NewGroup)
    accounts = call.world.accounts
    parent = None
    if wanted.parent_id is not None:
        parent = accounts.groups.get(wanted.parent_id)
        if parent is None:
            raise not_found("Group")
        if call.role_in(parent) < Role.MAINTAINER:
            raise forbidden()
    try:
        group = accounts.add_group(wanted.path, name=wanted.name, parent=parent, owner=call.user)
    except PathTaken as exc:
        message = f'Failed to save group {{:path=>["{exc} has already been taken"]}}'
        raise ApiError(400, message) from exc
    return JSONResponse(group_view(group, call.world), status_code=201)


async def list_groups(call: Call) -> Response:
    """GET /groups."""
    groups = [g for g in call.world.accounts.groups.values() if call.role_in(g) > Role.NONE]
    return page_of(call.request, groups, lambda group: group_view(group, call.world))


async def get_group(call: Call) -> Response:
    """GET /groups/:id."""
    return JSONResponse(group_view(call.group(), call.world))


_ANY = READ | {"read_user", "create_runner", "manage_runner"}

ENDPOINTS = (
    Endpoint("GET", "/user", get_user, _USER_SCOPES),
    Endpoint("GET", "/version", get_version, _USER_SCOPES),
    Endpoint("GET", "/application/plan_limits", get_plan_limits, READ),
    Endpoint("POST", "/users", create_user, WRITE),
    Endpoint("POST", "/users/{user}/personal_access_tokens", create_token, WRITE),
    Endpoint("GET", "/personal_access_tokens/self", get_own_token, _ANY),
    Endpoint("POST", "/projects/{project}/members", add_member, WRITE),
    Endpoint("POST", "/groups/{group}/members", add_member, WRITE),
    Endpoint("POST", "/groups", create_group, WRITE),
    Endpoint("GET", "/groups", list_groups, READ),
    Endpoint("GET", "/groups/{group}", get_group, READ),
)
