"""Merge requests over REST, to the extent that pipelines need."""

from typing import Literal

from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from local.gitlab import merge_requests
from local.gitlab.api.call import READ, WRITE, ApiError, Call, Endpoint, not_found
from local.gitlab.api.paging import page_of
from local.gitlab.api.pipelines import pipeline_made
from local.gitlab.api.views import Json, pipeline_view, user_view
from local.gitlab.dates import api_date
from local.gitlab.model import MergeRequest, Project, Role
from local.gitlab.world import GitLabWorld

_OTHER_PROJECT = "target_project_id: merge requests between two projects are not simulated"


class NewMergeRequest(BaseModel):
    """Body of `POST /projects/:id/merge_requests`."""

    source_branch: str
    target_branch: str
    title: str
    description: str | None = None
    labels: str | list[str] = ""
    squash: bool = False
    target_project_id: int | None = None


class MergeRequestChange(BaseModel):
    """Body of `PUT …/merge_requests/:iid`: absent fields stay."""

    title: str | None = None
    description: str | None = None
    target_branch: str | None = None
    labels: str | list[str] | None = None
    squash: bool | None = None
    state_event: Literal["close", "reopen"] | None = None


def _labels(labels: str | list[str]) -> tuple[str, ...]:
    names = labels.split(",") if isinstance(labels, str) else labels
    return tuple(name.strip() for name in names if name.strip())


def _view(merge_request: MergeRequest, world: GitLabWorld) -> Json:
    project = merge_request.project
    return {
        "id": merge_request.id,
        "iid": merge_request.iid,
        "project_id": project.id,
        "title": merge_request.title,
        "description": merge_request.description,
        "state": merge_request.state,
        "draft": merge_request.is_draft,
        "created_at": api_date(merge_request.created_at),
        "author": user_view(merge_request.author, world),
        "source_branch": merge_request.source_branch,
        "target_branch": merge_request.target_branch,
        "source_project_id": project.id,
        "target_project_id": project.id,
        "labels": list(merge_request.labels),
        "squash": merge_request.is_squashed,
        "sha": merge_requests.source_sha(merge_request),
        "reference": f"!{merge_request.iid}",
        "web_url": f"{world.base_url}/{project.full_path}/-/merge_requests/{merge_request.iid}",
    }


def _find(call: Call, project: Project) -> MergeRequest:
    request = project.merge_requests.get(call.number("iid"))
    if request is None:
        raise not_found("Merge request")
    return request


def _check(project: Project, wanted: NewMergeRequest) -> None:
    """Raises 400 or 409 for branches that cannot be merged."""
    if wanted.target_project_id not in (None, project.id):
        raise ApiError(400, _OTHER_PROJECT)
    if wanted.source_branch == wanted.target_branch:
        raise ApiError(409, ["You can't use same project/branch for source and target"])
    for kind, branch in (("Source", wanted.source_branch), ("Target", wanted.target_branch)):
        if f"refs/heads/{branch}" not in project.refs:
            raise ApiError(400, [f'{kind} branch "{branch}" does not exist'])
    for other in merge_requests.open_from(project, wanted.source_branch):
        if other.target_branch == wanted.target_branch:
            message = "Another open merge request already exists for this source branch"
            raise ApiError(409, [f"{message}: !{other.iid}"])


async def create(call: Call) -> Response:
    """POST /projects/:id/merge_requests: its first pipeline starts with it."""
    project = call.project(role=Role.DEVELOPER)
    wanted = await call.body(NewMergeRequest)
    _check(project, wanted)
    everywhere = call.world.accounts.projects.values()
    merge_request = MergeRequest(
        id=1 + sum(len(other.merge_requests) for other in everywhere),
        iid=len(project.merge_requests) + 1,
        project=project,
        author=call.user,
        title=wanted.title,
        description=wanted.description or "",
        source_branch=wanted.source_branch,
        target_branch=wanted.target_branch,
        created_at=call.world.clock.now(),
        labels=_labels(wanted.labels),
        is_squashed=wanted.squash,
    )
    project.merge_requests[merge_request.iid] = merge_request
    merge_requests.keep_head(merge_request)
    await merge_requests.start_for(call.world, merge_request, user=call.user)
    return JSONResponse(_view(merge_request, call.world), status_code=201)


async def list_all(call: Call) -> Response:
    """GET /projects/:id/merge_requests."""
    query = call.request.query_params
    matching = [
        merge_request
        for merge_request in call.project().merge_requests.values()
        if query.get("state", "all") in ("all", merge_request.state)
        and query.get("source_branch") in (None, merge_request.source_branch)
        and query.get("target_branch") in (None, merge_request.target_branch)
    ]
    return page_of(call.request, matching, lambda merge_request: _view(merge_request, call.world))


async def get(call: Call) -> Response:
    """GET …/merge_requests/:iid."""
    return JSONResponse(_view(_find(call, call.project()), call.world))


async def change(call: Call) -> Response:
    """PUT …/merge_requests/:iid."""
    merge_request = _find(call, call.project(role=Role.DEVELOPER))
    wanted = await call.body(MergeRequestChange)
    merge_request.title = wanted.title or merge_request.title
    merge_request.target_branch = wanted.target_branch or merge_request.target_branch
    if wanted.description is not None:
        merge_request.description = wanted.description
    if wanted.labels is not None:
        merge_request.labels = _labels(wanted.labels)
    if wanted.squash is not None:
        merge_request.is_squashed = wanted.squash
    if wanted.state_event is not None:
        merge_request.state = "closed" if wanted.state_event == "close" else "opened"
    return JSONResponse(_view(merge_request, call.world))


async def list_pipelines(call: Call) -> Response:
    """GET …/merge_requests/:iid/pipelines."""
    project = call.project()
    merge_request = _find(call, project)
    pipelines = [
        pipeline
        for pipeline in project.pipelines.values()
        if pipeline.merge_request is merge_request
    ]
    return page_of(call.request, pipelines, lambda pipeline: pipeline_view(pipeline, call.world))


async def create_pipeline(call: Call) -> Response:
    """POST …/merge_requests/:iid/pipelines."""
    merge_request = _find(call, call.project(role=Role.DEVELOPER))
    if merge_request.state != "opened" or merge_requests.source_sha(merge_request) is None:
        raise ApiError(400, {"base": ["The merge request is not open, or its branch is gone"]})
    pipeline = await merge_requests.start_for(call.world, merge_request, user=call.user)
    return pipeline_made(pipeline, call)


_ALL = "/projects/{project}/merge_requests"
_ONE = f"{_ALL}/{{iid}}"

ENDPOINTS = (
    Endpoint("POST", _ALL, create, WRITE),
    Endpoint("GET", _ALL, list_all, READ),
    Endpoint("GET", _ONE, get, READ),
    Endpoint("PUT", _ONE, change, WRITE),
    Endpoint("GET", f"{_ONE}/pipelines", list_pipelines, READ),
    Endpoint("POST", f"{_ONE}/pipelines", create_pipeline, WRITE),
)
