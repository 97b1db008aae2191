"""The ASGI application: API, git and pages on one address."""

import logging
import re
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from local.gitlab.api import (
    accounts,
    artifacts,
    environments,
    hooks,
    job_token,
    jobs,
    merge_requests,
    pipelines,
    projects,
    refs,
    runner_protocol,
    runners,
    variables,
)
from local.gitlab.api.call import ApiError, Call, Endpoint
from local.gitlab.api.git import git_routes
from local.gitlab.api.login import NotAdmitted, access_token
from local.gitlab.api.pages import last_routes, page_routes
from local.gitlab.model import AccessToken
from local.gitlab.world import GitLabWorld

_PREFIX = "/api/v4"
_ENDPOINTS: tuple[Endpoint, ...] = (
    *runner_protocol.ENDPOINTS,
    *artifacts.ENDPOINTS,
    *jobs.ENDPOINTS,
    *runners.ENDPOINTS,
    *hooks.ENDPOINTS,
    *projects.ENDPOINTS,
    *refs.ENDPOINTS,
    *pipelines.ENDPOINTS,
    *accounts.ENDPOINTS,
    *variables.ENDPOINTS,
    *job_token.ENDPOINTS,
    *merge_requests.ENDPOINTS,
    *environments.ENDPOINTS,
)
_LOG = logging.getLogger("local.gitlab")
_SLASH = re.compile("%2f", re.IGNORECASE)


class KeepEncodedSlashes:
    """Decode the path except for `%2F`, which GitLab clients put into project paths."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on with a corrected path."""
        if scope["type"] == "http":
            raw: str = scope["raw_path"].decode("ascii")
            if _SLASH.search(raw):
                path = unquote(_SLASH.sub("%252F", raw.split("?", 1)[0]))
                scope = {**scope, "path": path}
        await self._app(scope, receive, send)


def create_app(world: GitLabWorld) -> ASGIApp:
    """The application that serves `world`."""
    rest = [*page_routes(world), *git_routes(world), *last_routes(world)]
    refusals = dict.fromkeys((ApiError, NotAdmitted), _refuse)
    app = Starlette(routes=[*_API_ROUTES, *rest], exception_handlers=refusals)
    app.state.world = world
    return KeepEncodedSlashes(app)


async def _unknown(request: Request) -> Response:
    _LOG.warning("%s %s is not simulated", request.method, request.url.path)
    return JSONResponse({"error": "404 Not Found"}, status_code=404)


async def _health(_request: Request) -> Response:
    return PlainTextResponse("GitLab OK")


def _route(endpoint: Endpoint) -> Route:
    """Count each call, apply the faults in force, then answer."""

    async def serve(request: Request) -> Response:
        world: GitLabWorld = request.app.state.world
        world.calls[f"{endpoint.method} {endpoint.path}"] += 1
        path = request.url.path.removeprefix(_PREFIX)
        fault = world.chaos.fault_of_call(path, at=world.clock.now())
        if fault is None:
            return await _answer(endpoint, request)
        headers = {}
        if fault.retry_after_s is not None:
            headers["Retry-After"] = str(fault.retry_after_s)
        body = {"message": f"{fault.status} by request"}
        return JSONResponse(body, status_code=fault.status, headers=headers)

    return Route(_PREFIX + endpoint.path, serve, methods=[endpoint.method])


async def _answer(endpoint: Endpoint, request: Request) -> Response:
    call = Call(request, request.app.state.world)
    if endpoint.scopes:
        call.caller = _authorize(request, call.world, endpoint.scopes)
    return await endpoint.handler(call)


async def _refuse(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError | NotAdmitted)
    return error.answer


def _authorize(request: Request, world: GitLabWorld, scopes: frozenset[str]) -> AccessToken:
    """The access token of the request. Raises 401, or 403 when it lacks every scope."""
    token = world.accounts.tokens.get(access_token(request) or "")
    if token is None:
        raise ApiError(401, "401 Unauthorized")
    if not token.scopes & scopes:
        error = ApiError(403, "403 Forbidden")
        error.body = {
            "error": "insufficient_scope",
            "error_description": "The request requires higher privileges than provided.",
            "scope": " ".join(sorted(scopes)),
        }
        raise error
    return token


# Made once: a process may open many simulators, and a route takes longer than a call.
_API_ROUTES = (
    *map(_route, _ENDPOINTS),
    Route(f"{_PREFIX}/{{path:path}}", _unknown, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
    Route("/-/health", _health),
)
