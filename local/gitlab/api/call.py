"""One API call: its caller, its parameters, and the errors that GitLab answers."""

import json
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import unquote

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from local.gitlab.model import AccessToken, Group, Job, Project, Role, User
from local.gitlab.world import GitLabWorld

_LOG = logging.getLogger("local.gitlab")
_NO_PARAMETERS = frozenset({"private_token", "filter[environment_scope]"})
BodyT = TypeVar("BodyT", bound=BaseModel)


class ApiError(Exception):
    """An error answer; the body is GitLab's."""

    def __init__(
        self, status: int, message: object, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.body: dict[str, object] = {"message": message}
        self.headers = dict(headers or {})

    @property
    def answer(self) -> Response:
        """The answer to the caller."""
        return JSONResponse(self.body, status_code=self.status, headers=self.headers)


def not_found(what: str) -> ApiError:
    """404 in GitLab's words: `404 Project Not Found`."""
    return ApiError(404, f"404 {what} Not Found")


def forbidden(why: str = "") -> ApiError:
    """403 in GitLab's words."""
    return ApiError(403, f"403 Forbidden - {why}" if why else "403 Forbidden")


@dataclass(slots=True)
class Call:
    """A request to a world. `caller` is None on runner endpoints."""

    request: Request
    world: GitLabWorld
    caller: AccessToken | None = None

    @property
    def user(self) -> User:
        """The user of the call. Raises 401 without a login."""
        if self.caller is None:
            raise ApiError(401, "401 Unauthorized")
        return self.caller.user

    def path(self, name: str) -> str:
        """A path parameter, decoded."""
        return unquote(str(self.request.path_params[name]))

    def flag(self, name: str) -> bool:
        """Whether a parameter of the query string is true."""
        return self.request.query_params.get(name, "").lower() in ("true", "1")

    def number(self, name: str) -> int:
        """A numeric path parameter. Raises 400."""
        text = self.path(name)
        if not text.isdecimal():
            raise ApiError(400, f"{name} is invalid")
        return int(text)

    async def body(self, model: type[BodyT], *, also: Collection[str] = ()) -> BodyT:
        """The parameters, from JSON or a form and the query string together. Raises 400.

        `also` has names of further parameters that the caller reads.
        """
        parameters: dict[str, Any] = dict(self.request.query_params)
        kind = self.request.headers.get("content-type", "")
        if kind.startswith("application/json"):
            parameters |= self._json(await self.request.body())
        elif kind.startswith(("application/x-www-form-urlencoded", "multipart/form-data")):
            parameters |= dict(await self.request.form())
        self._note_unread(parameters.keys() - model.model_fields.keys() - {*also})
        try:
            return model.model_validate(parameters)
        except ValidationError as exc:
            raise ApiError(400, _explain(exc)) from exc

    def _note_unread(self, names: Collection[str]) -> None:
        """Log the ignored parameters, except those of runners, which send many."""
        unread = sorted({*names} - _NO_PARAMETERS)
        if unread and self.caller is not None:
            ignored = ", ".join(unread)
            _LOG.warning("%s %s ignores %s", self.request.method, self.request.url.path, ignored)

    @staticmethod
    def _json(raw: bytes) -> dict[str, Any]:
        try:
            parsed = json.loads(raw or b"{}")
        except ValueError as exc:
            raise ApiError(400, "400 Bad request - malformed JSON") from exc
        if not isinstance(parsed, dict):
            raise ApiError(400, "400 Bad request - an object is expected")
        return parsed

    def role_in(self, owner: Project | Group) -> Role:
        """The caller's role there; administrators own everything."""
        return Role.OWNER if self.user.is_admin else owner.role_of(self.user)

    def project(self, *, role: Role = Role.REPORTER) -> Project:
        """The project of the path. Raises 404 when hidden from the caller, 403 below `role`."""
        project = self.world.accounts.project(self.path("project"))
        if project is None:
            raise not_found("Project")
        self._admit(project, role, what="Project", is_public=project.is_public)
        return project

    def group(self, *, role: Role = Role.GUEST) -> Group:
        """The group of the path. Raises 404 when hidden from the caller, 403 below `role`."""
        group = self.world.accounts.group(self.path("group"))
        if group is None:
            raise not_found("Group")
        self._admit(group, role, what="Group", is_public=False)
        return group

    def owner(self) -> Project | Group:
        """The project or group of the path, for its maintainers or owners. Raises 404 or 403."""
        if "project" in self.request.path_params:
            return self.project(role=Role.MAINTAINER)
        return self.group(role=Role.OWNER)

    def _admit(self, owner: Project | Group, role: Role, *, what: str, is_public: bool) -> None:
        own = self.role_in(owner)
        if own is Role.NONE and not is_public:
            raise not_found(what)
        if own < role and not (is_public and role <= Role.REPORTER):
            raise forbidden()

    def job(self, *, role: Role = Role.REPORTER) -> Job:
        """The job of the path, in the project of the path."""
        job = self.project(role=role).jobs.get(self.number("job"))
        if job is None:
            raise not_found("Job")
        return job


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"{field} is missing"
    return f"{field} does not have a valid value: {first['msg']}"


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A row of the API. The caller's token must have one of the `scopes`."""

    method: str
    path: str  # below /api/v4
    handler: Handler
    scopes: frozenset[str] = frozenset()  # none: the handler checks tokens by itself


READ = frozenset({"api", "read_api"})
WRITE = frozenset({"api"})
