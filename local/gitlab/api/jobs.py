"""Jobs over REST: lists, one job, its log, cancel, retry and play."""

from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from local.gitlab import actions
from local.gitlab.api.call import READ, WRITE, ApiError, Call, Endpoint, not_found
from local.gitlab.api.paging import page_of
from local.gitlab.api.views import job_view
from local.gitlab.model import Job, Project, Role
from local.gitlab.states import FINISHED, Status


class CancelOrder(BaseModel):
    """Body of `POST …/cancel`."""

    force: bool = False


def wanted_statuses(call: Call) -> frozenset[Status] | None:
    """The states of `scope[]` (or `scope`); None for all. Raises 400."""
    query = call.request.query_params
    words = [*query.getlist("scope[]"), *query.getlist("scope")]
    try:
        return frozenset(Status(word) for word in words) if words else None
    except ValueError as exc:
        raise ApiError(400, "scope does not have a valid value") from exc


def _jobs_in(project: Project, statuses: frozenset[Status] | None) -> list[Job]:
    if statuses is None:
        return list(project.jobs.values())
    jobs = [job for s in statuses for job in project.by_status.get(s, {}).values()]
    return sorted(jobs, key=lambda job: job.id)


async def list_jobs(call: Call) -> Response:
    """GET /projects/:id/jobs."""
    jobs = _jobs_in(call.project(), wanted_statuses(call))
    return page_of(call.request, jobs, lambda job: job_view(job, call.world))


async def get_job(call: Call) -> Response:
    """GET /projects/:id/jobs/:job_id."""
    return JSONResponse(job_view(call.job(), call.world))


async def get_trace(call: Call) -> Response:
    """GET …/trace: the log as it is now."""
    return Response(bytes(call.job().trace), media_type="text/plain")


async def cancel_job(call: Call) -> Response:
    """POST …/cancel."""
    order = await call.body(CancelOrder)
    job = call.job(role=Role.DEVELOPER)
    actions.cancel(call.world.ci, job, force=order.force)
    return JSONResponse(job_view(job, call.world), status_code=201)


async def retry_job(call: Call) -> Response:
    """POST …/retry: 201 with the new job."""
    job = call.job(role=Role.DEVELOPER)
    try:
        fresh = actions.retry(call.world.ci, job, user=call.user)
    except actions.NotPossible as exc:
        raise ApiError(403, str(exc)) from exc
    return JSONResponse(job_view(fresh, call.world), status_code=201)


async def play_job(call: Call) -> Response:
    """POST …/play."""
    job = call.job(role=Role.DEVELOPER)
    try:
        actions.play(call.world.ci, job, user=call.user)
    except actions.NotPossible as exc:
        raise ApiError(400, str(exc)) from exc
    return JSONResponse(job_view(job, call.world))


async def erase_job(call: Call) -> Response:
    """POST …/erase: log and artifacts are gone."""
    job = call.job(role=Role.DEVELOPER)
    if job.status not in FINISHED:
        raise ApiError(403, "403 Forbidden - Job is not erasable!")
    job.trace.clear()
    job.drop_artifacts()
    job.artifacts_expire_at = None
    job.erased_at = call.world.clock.now()
    return JSONResponse(job_view(job, call.world), status_code=201)


async def list_pipeline_jobs(call: Call) -> Response:
    """GET /projects/:id/pipelines/:pipeline_id/jobs; retried jobs only when asked for."""
    pipeline = call.project().pipelines.get(call.number("pipeline"))
    if pipeline is None:
        raise not_found("Pipeline")
    statuses = wanted_statuses(call)
    with_retried = call.flag("include_retried")
    jobs = [
        job
        for job in pipeline.jobs.values()
        if (with_retried or not job.is_retried) and (statuses is None or job.status in statuses)
    ]
    return page_of(call.request, jobs, lambda job: job_view(job, call.world))


_JOB = "/projects/{project}/jobs/{job}"

ENDPOINTS = (
    Endpoint("GET", "/projects/{project}/jobs", list_jobs, READ),
    Endpoint("GET", _JOB, get_job, READ),
    Endpoint("GET", f"{_JOB}/trace", get_trace, READ),
    Endpoint("POST", f"{_JOB}/cancel", cancel_job, WRITE),
    Endpoint("POST", f"{_JOB}/retry", retry_job, WRITE),
    Endpoint("POST", f"{_JOB}/play", play_job, WRITE),
    Endpoint("POST", f"{_JOB}/erase", erase_job, WRITE),
    Endpoint("GET", "/projects/{project}/pipelines/{pipeline}/jobs", list_pipeline_jobs, READ),
)
