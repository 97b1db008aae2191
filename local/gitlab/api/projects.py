"""Projects over REST."""

import asyncio
from typing import Literal

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from local.gitlab.accounts import PathTaken
from local.gitlab.api.call import READ, WRITE, ApiError, Call, Endpoint, forbidden, not_found
from local.gitlab.api.paging import page_of
from local.gitlab.api.views import group_view, project_view
from local.gitlab.model import Group, Role
from local.gitlab.repository import create_repository

Visibility = Literal["private", "public"]  # internal is for those with an account: not done


class NewProject(BaseModel):
    """Body of `POST /projects`."""

    name: str = ""
    path: str = Field(default="", pattern=r"^[A-Za-z0-9_.-]*$")
    namespace_id: int | None = None
    visibility: Visibility = "private"
    default_branch: str = "main"
    build_timeout: int | None = None
    ci_config_path: str | None = None
    auto_cancel_pending_pipelines: Literal["enabled", "disabled"] = "enabled"


class ProjectChange(BaseModel):
    """Body of `PUT /projects/:id`: absent fields stay."""

    protect_merge_request_pipelines: bool | None = None
    name: str | None = None
    build_timeout: int | None = None
    ci_config_path: str | None = None
    shared_runners_enabled: bool | None = None
    auto_cancel_pending_pipelines: Literal["enabled", "disabled"] | None = None
    visibility: Visibility | None = None
    default_branch: str | None = None


async def list_group_projects(call: Call) -> Response:
    """GET /groups/:id/projects; those of subgroups with `include_subgroups`."""
    group = call.group()
    deep = call.flag("include_subgroups")
    below = call.world.accounts.projects_of(group)
    projects = [project for project in below if deep or project.group is group]
    return page_of(call.request, projects, lambda project: project_view(project, call.world))


async def list_groups_above(call: Call) -> Response:
    """GET /projects/:id/groups: from its own to the top."""
    project = call.project(role=Role.GUEST)
    return page_of(call.request, project.group.lineage, lambda group: group_view(group, call.world))


async def create_project(call: Call) -> Response:
    """POST /projects: with an empty repository."""
    wanted = await call.body(NewProject)
    path = wanted.path or wanted.name
    if not path:
        raise ApiError(400, "name is missing")
    group = _namespace(call, wanted.namespace_id)
    try:
        project = call.world.accounts.add_project(
            path, name=wanted.name or path, group=group, at=call.world.clock.now()
        )
    except PathTaken as exc:
        raise ApiError(400, {"path": ["has already been taken"]}) from exc
    project.is_public = wanted.visibility == "public"
    project.default_branch = wanted.default_branch
    project.ci_config_path = wanted.ci_config_path
    project.cancels_redundant = wanted.auto_cancel_pending_pipelines == "enabled"
    project.build_timeout_s = wanted.build_timeout or project.build_timeout_s
    await asyncio.to_thread(
        create_repository,
        project.repository,
        default_branch=wanted.default_branch,
        path=project.full_path,
    )
    return JSONResponse(project_view(project, call.world), status_code=201)


def _namespace(call: Call, number: int | None) -> Group:
    accounts = call.world.accounts
    if number is None:  # a user's own namespace: here a group that bears the user's name
        own = accounts.group(call.user.username)
        return own or accounts.add_group(
            call.user.username, name=call.user.name, parent=None, owner=call.user
        )
    group = accounts.groups.get(number)
    if group is None:
        raise not_found("Namespace")
    if call.role_in(group) < Role.DEVELOPER:
        raise forbidden()
    return group


async def list_projects(call: Call) -> Response:
    """GET /projects."""
    every = call.world.accounts.projects.values()
    projects = [p for p in every if p.is_public or call.role_in(p) > Role.NONE]
    return page_of(call.request, projects, lambda project: project_view(project, call.world))


async def get_project(call: Call) -> Response:
    """GET /projects/:id."""
    return JSONResponse(project_view(call.project(role=Role.GUEST), call.world))


async def change_project(call: Call) -> Response:
    """PUT /projects/:id."""
    project = call.project(role=Role.MAINTAINER)
    change = await call.body(ProjectChange)
    project.name = change.name or project.name
    project.build_timeout_s = change.build_timeout or project.build_timeout_s
    project.default_branch = change.default_branch or project.default_branch
    if change.visibility is not None:
        project.is_public = change.visibility == "public"
    if "ci_config_path" in change.model_fields_set:
        project.ci_config_path = change.ci_config_path or None
    if change.shared_runners_enabled is not None:
        project.shared_runners_enabled = change.shared_runners_enabled
        call.world.ci.index.queue.touch()
    if change.auto_cancel_pending_pipelines is not None:
        project.cancels_redundant = change.auto_cancel_pending_pipelines == "enabled"
    if change.protect_merge_request_pipelines is not None:
        project.protects_merge_requests = change.protect_merge_request_pipelines
    return JSONResponse(project_view(project, call.world))


_PROJECT = "/projects/{project}"

ENDPOINTS = (
    Endpoint("GET", "/groups/{group}/projects", list_group_projects, READ),
    Endpoint("POST", "/projects", create_project, WRITE),
    Endpoint("GET", "/projects", list_projects, READ),
    Endpoint("GET", f"{_PROJECT}/groups", list_groups_above, READ),
    Endpoint("GET", _PROJECT, get_project, READ),
    Endpoint("PUT", _PROJECT, change_project, WRITE),
)
