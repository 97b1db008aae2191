"""Pipelines over REST."""

from typing import Literal

from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from local.gitlab import actions
from local.gitlab.api.call import READ, WRITE, ApiError, Call, Endpoint, not_found
from local.gitlab.api.paging import page_of
from local.gitlab.api.views import pipeline_view
from local.gitlab.model import NO_SHA, Pipeline, Project, Role
from local.gitlab.trigger import PipelineStart, RefChange, start_pipeline


class Variable(BaseModel):
    """One variable of a pipeline made over the API."""

    key: str
    value: str
    variable_type: Literal["env_var", "file"] = "env_var"


class NewPipeline(BaseModel):
    """Body of `POST /projects/:id/pipeline`."""

    ref: str
    variables: list[Variable] = []
    inputs: dict[str, object] = {}


async def list_pipelines(call: Call) -> Response:
    """GET /projects/:id/pipelines."""
    query = call.request.query_params
    pipelines = [
        pipeline
        for pipeline in call.project().pipelines.values()
        if query.get("ref") in (None, pipeline.ref)
        and query.get("sha") in (None, pipeline.commit.sha)
        and query.get("status") in (None, pipeline.status)
    ]
    return page_of(call.request, pipelines, lambda p: pipeline_view(p, call.world))


def _pipeline(call: Call, project: Project) -> Pipeline:
    if call.path("pipeline") == "latest":
        newest = max(project.pipelines, default=0)
        pipeline = project.pipelines.get(newest)
    else:
        pipeline = project.pipelines.get(call.number("pipeline"))
    if pipeline is None:
        raise not_found("Pipeline")
    return pipeline


async def get_pipeline(call: Call) -> Response:
    """GET /projects/:id/pipelines/:pipeline_id, or `latest`."""
    return JSONResponse(pipeline_view(_pipeline(call, call.project()), call.world))


async def create_pipeline(call: Call) -> Response:
    """POST /projects/:id/pipeline."""
    project = call.project(role=Role.DEVELOPER)
    wanted = await call.body(NewPipeline)
    if wanted.inputs:
        inputs = ", ".join(wanted.inputs)
        raise ApiError(400, {"base": [f"inputs: {inputs}: inputs over the API are not simulated"]})
    names = [f"refs/heads/{wanted.ref}", f"refs/tags/{wanted.ref}"]
    name = next((name for name in names if name in project.refs), None)
    if name is None:
        raise ApiError(400, {"base": ["Reference not found"]})
    start = PipelineStart(
        project=project,
        change=RefChange(name=name, old=NO_SHA, new=project.refs[name]),
        source="api",
        user=call.user,
        variables={variable.key: variable.value for variable in wanted.variables},
        file_variables=frozenset(
            variable.key for variable in wanted.variables if variable.variable_type == "file"
        ),
    )
    return pipeline_made(await start_pipeline(call.world, start), call)


def pipeline_made(pipeline: Pipeline | None, call: Call) -> Response:
    """The answer to a call that made a pipeline. Raises 400 where it made none that runs."""
    if pipeline is None:
        raise ApiError(400, {"base": ["Pipeline will not run for the selected trigger."]})
    if pipeline.yaml_errors:
        raise ApiError(400, {"base": [pipeline.yaml_errors]})
    return JSONResponse(pipeline_view(pipeline, call.world), status_code=201)


async def cancel_pipeline(call: Call) -> Response:
    """POST …/pipelines/:pipeline_id/cancel."""
    pipeline = _pipeline(call, call.project(role=Role.DEVELOPER))
    actions.cancel_pipeline(call.world.ci, pipeline)
    return JSONResponse(pipeline_view(pipeline, call.world))


async def retry_pipeline(call: Call) -> Response:
    """POST …/pipelines/:pipeline_id/retry."""
    pipeline = _pipeline(call, call.project(role=Role.DEVELOPER))
    actions.retry_pipeline(call.world.ci, pipeline, user=call.user)
    return JSONResponse(pipeline_view(pipeline, call.world), status_code=201)


_PIPELINES = "/projects/{project}/pipelines"
_PIPELINE = f"{_PIPELINES}/{{pipeline}}"

ENDPOINTS = (
    Endpoint("GET", _PIPELINES, list_pipelines, READ),
    Endpoint("POST", "/projects/{project}/pipeline", create_pipeline, WRITE),
    Endpoint("POST", _PIPELINES, create_pipeline, WRITE),
    Endpoint("GET", _PIPELINE, get_pipeline, READ),
    Endpoint("POST", f"{_PIPELINE}/cancel", cancel_pipeline, WRITE),
    Endpoint("POST", f"{_PIPELINE}/retry", retry_pipeline, WRITE),
)
