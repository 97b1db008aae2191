"""The projects and groups whose job tokens a project admits, over REST."""

from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from local.gitlab.api.call import READ, WRITE, ApiError, Call, Endpoint, not_found
from local.gitlab.api.paging import page_of
from local.gitlab.api.views import group_view, project_view
from local.gitlab.model import Role


class JobTokenScope(BaseModel):
    """Body of `PATCH …/job_token_scope`."""

    enabled: bool


class AllowedProject(BaseModel):
    """Body of `POST …/allowlist`."""

    target_project_id: int


class AllowedGroup(BaseModel):
    """Body of `POST …/groups_allowlist`."""

    target_group_id: int


async def get_scope(call: Call) -> Response:
    """GET /projects/:id/job_token_scope."""
    project = call.project(role=Role.MAINTAINER)
    view = {"inbound_enabled": project.limits_job_tokens, "outbound_enabled": False}
    return JSONResponse(view)


async def change_scope(call: Call) -> Response:
    """PATCH /projects/:id/job_token_scope: whether the lists count."""
    project = call.project(role=Role.MAINTAINER)
    project.limits_job_tokens = (await call.body(JobTokenScope)).enabled
    return Response(status_code=204)


async def list_projects(call: Call) -> Response:
    """GET …/allowlist: the project itself first."""
    project = call.project(role=Role.MAINTAINER)
    allowed = sorted([project, *project.job_token_projects.values()], key=lambda entry: entry.id)
    return page_of(call.request, allowed, lambda entry: project_view(entry, call.world))


async def allow_project(call: Call) -> Response:
    """POST …/allowlist."""
    project = call.project(role=Role.MAINTAINER)
    wanted = (await call.body(AllowedProject)).target_project_id
    other = call.world.accounts.projects.get(wanted)
    if other is None or (not other.is_public and call.role_in(other) < Role.GUEST):
        raise not_found("Project")
    if other is project or other.id in project.job_token_projects:
        raise ApiError(422, "This project is already in the job token allowlist.")
    project.job_token_projects[other.id] = other
    view = {"source_project_id": project.id, "target_project_id": other.id}
    return JSONResponse(view, status_code=201)


async def forbid_project(call: Call) -> Response:
    """DELETE …/allowlist/:target."""
    project = call.project(role=Role.MAINTAINER)
    if project.job_token_projects.pop(call.number("target"), None) is None:
        raise not_found("Project")
    return Response(status_code=204)


async def list_groups(call: Call) -> Response:
    """GET …/groups_allowlist."""
    project = call.project(role=Role.MAINTAINER)
    allowed = sorted(project.job_token_groups.values(), key=lambda entry: entry.id)
    return page_of(call.request, allowed, lambda entry: group_view(entry, call.world))


async def allow_group(call: Call) -> Response:
    """POST …/groups_allowlist: the jobs of all its projects."""
    project = call.project(role=Role.MAINTAINER)
    wanted = (await call.body(AllowedGroup)).target_group_id
    group = call.world.accounts.groups.get(wanted)
    if group is None or call.role_in(group) < Role.GUEST:
        raise not_found("Group")
    if group.id in project.job_token_groups:
        raise ApiError(422, "This group is already in the job token allowlist.")
    project.job_token_groups[group.id] = group
    view = {"source_project_id": project.id, "target_group_id": group.id}
    return JSONResponse(view, status_code=201)


async def forbid_group(call: Call) -> Response:
    """DELETE …/groups_allowlist/:target."""
    project = call.project(role=Role.MAINTAINER)
    if project.job_token_groups.pop(call.number("target"), None) is None:
        raise not_found("Group")
    return Response(status_code=204)


_SCOPE = "/projects/{project}/job_token_scope"
_PROJECTS = f"{_SCOPE}/allowlist"
_GROUPS = f"{_SCOPE}/groups_allowlist"

ENDPOINTS = (
    Endpoint("GET", _SCOPE, get_scope, READ),
    Endpoint("PATCH", _SCOPE, change_scope, WRITE),
    Endpoint("GET", _PROJECTS, list_projects, READ),
    Endpoint("POST", _PROJECTS, allow_project, WRITE),
    Endpoint("DELETE", f"{_PROJECTS}/{{target}}", forbid_project, WRITE),
    Endpoint("GET", _GROUPS, list_groups, READ),
    Endpoint("POST", _GROUPS, allow_group, WRITE),
    Endpoint("DELETE", f"{_GROUPS}/{{target}}", forbid_group, WRITE),
)
