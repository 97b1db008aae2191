"""The API that gitlab-runner speaks: verify, ask for jobs, report logs and results.

Source: gitlab-runner, network/gitlab.go; GitLab, lib/api/ci/runner.rb.
"""

import asyncio
import re
import secrets
from typing import Any

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from local.gitlab.actions import cancel_after_failure
from local.gitlab.api.call import ApiError, Call, Endpoint, forbidden, not_found
from local.gitlab.api.views import token_view
from local.gitlab.engine import JobEnd
from local.gitlab.environments import note_deployed
from local.gitlab.failures import TRACE_TOO_LARGE
from local.gitlab.handout import job_payload, sent_variables
from local.gitlab.model import Job, Runner
from local.gitlab.runners import LEGACY_SYSTEM_ID
from local.gitlab.states import Status
from local.gitlab.variables import CiVariable, expand_in

_ALIVE = (Status.RUNNING, Status.CANCELING)
_LONG_POLL_STEP_S = 0.05
_RANGE = re.compile(r"(\d+)-(-?\d+)")


class RunnerIdentity(BaseModel):
    """The fields of every call of a runner."""

    token: str = ""
    system_id: str | None = None
    info: dict[str, Any] = Field(default_factory=dict)
    last_update: str | None = None


class JobUpdate(BaseModel):
    """Body of `PUT /jobs/:id`."""

    token: str = ""
    state: str | None = None
    failure_reason: str | None = None
    exit_code: int | None = None


async def _known(call: Call) -> tuple[Runner, RunnerIdentity]:
    """The runner whose token the call carries. Raises 403."""
    identity = await call.body(RunnerIdentity)
    token = call.request.headers.get("runner-token") or identity.token
    runner = call.world.runners.by_token(token)
    if runner is None:
        raise forbidden()
    ends = runner.token_expires_at
    if ends is not None and ends <= call.world.clock.now():
        raise forbidden()
    return runner, identity


async def _identify(call: Call) -> tuple[Runner, RunnerIdentity]:
    """The same, after recording the call of its machine."""
    runner, identity = await _known(call)
    at = call.world.clock.now()
    manager = call.world.runners.hear(
        runner, system_id=identity.system_id, info=identity.info, at=at
    )
    manager.ip_address = call.request.client.host if call.request.client else None
    return runner, identity


async def verify_runner(call: Call) -> Response:
    """POST /runners/verify."""
    runner, _ = await _identify(call)
    return JSONResponse({"id": runner.id, **token_view(runner)})


async def request_job(call: Call) -> Response:
    """POST /jobs/request: 201 with a job, or 204."""
    runner, identity = await _identify(call)
    ci = call.world.ci
    if identity.last_update is not None:
        await _wait_for_change(call, identity.last_update)
    headers = {"X-GitLab-Last-Update": ci.index.queue.version}
    if runner.paused or identity.last_update == ci.index.queue.version:
        return Response(status_code=204, headers=headers)
    depth = ci.index.queue.depth_for(runner)
    job = ci.take(runner, system_id=identity.system_id or LEGACY_SYSTEM_ID)
    if job is None:
        return Response(status_code=204, headers=headers)
    payload = job_payload(
        job,
        instance=call.world.instance,
        queue_depth=depth - 1,
        queued_s=job.queued_s(call.world.clock.now()) or 0.0,
    )
    headers["X-GitLab-Last-Update"] = secrets.token_hex(16)  # there may be more: ask again
    return JSONResponse(payload, status_code=201, headers=headers)


async def _wait_for_change(call: Call, version: str) -> None:
    """Long polling: hold the call while the queue has the version that the runner knows."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + call.world.options.long_poll_s
    while version == call.world.ci.index.queue.version and loop.time() < deadline:
        await asyncio.sleep(_LONG_POLL_STEP_S)


def _job_of(call: Call, token: str) -> Job:
    """The running job of the path, by its own token. Raises 403."""
    job = call.world.ci.jobs.get(call.number("job"))
    if job is None or job is not call.world.ci.job_by_token(token):
        raise forbidden()
    if job.status not in _ALIVE:
        raise ApiError(403, "403 Forbidden - Job is not running", headers=_job_headers(call, job))
    job.heard_at = call.world.clock.now()
    return job


def _job_headers(call: Call, job: Job) -> dict[str, str]:
    return {
        "Job-Status": job.status,
        "X-GitLab-Trace-Update-Interval": str(call.world.options.trace_interval_s),
    }


async def update_job(call: Call) -> Response:
    """PUT /jobs/:id: a heartbeat or the end of the job."""
    update = await call.body(JobUpdate)
    job = _job_of(call, call.request.headers.get("job-token") or update.token)
    if update.state in ("success", "failed"):
        reason = update.failure_reason if update.state == "failed" else None
        outcome = JobEnd(
            status=Status(update.state), failure_reason=reason, exit_code=update.exit_code
        )
        call.world.ci.finish(job, outcome)
        if job.status is Status.SUCCESS:
            _note_deployed(call, job)
        cancel_after_failure(call.world.ci, job)
    return JSONResponse(200, headers=_job_headers(call, job))


def _note_deployed(call: Call, job: Job) -> None:
    """Record the deployment; the URL may hold dotenv variables of the job."""
    if job.spec.environment is None:
        return
    variables = sent_variables(job, call.world.instance)
    own = {key: CiVariable(value=value) for key, value in job.dotenv.items()}
    url = job.spec.environment.url
    note_deployed(job, expand_in(url, {**variables, **own}) if url else None)


async def append_trace(call: Call) -> Response:
    """PATCH /jobs/:id/trace: 202, or 416 with the stored size."""
    chunk = await call.request.body()
    job = _job_of(call, call.request.headers.get("job-token", ""))
    span = _RANGE.fullmatch(call.request.headers.get("content-range", ""))
    if span is None:
        raise ApiError(400, "400 Missing header Content-Range")
    headers = _job_headers(call, job)
    if int(span[1]) != len(job.trace):
        headers["Range"] = f"0-{len(job.trace)}"
        return Response("416 Range Not Satisfiable", status_code=416, headers=headers)
    if len(job.trace) + len(chunk) > call.world.options.trace_limit_bytes:
        call.world.ci.finish(job, JobEnd(status=Status.FAILED, failure_reason=TRACE_TOO_LARGE))
        cancel_after_failure(call.world.ci, job)
        raise ApiError(403, "403 Forbidden - Trace too large", headers=_job_headers(call, job))
    job.trace += chunk
    headers["Range"] = f"0-{len(job.trace)}"
    return Response("202 Accepted", status_code=202, headers=headers)


async def delete_runner(call: Call) -> Response:
    """DELETE /runners: by token, the whole record."""
    runner, _ = await _known(call)
    call.world.runners.delete(runner)
    return Response(status_code=204)


async def delete_manager(call: Call) -> Response:
    """DELETE /runners/managers: just one machine."""
    runner, identity = await _known(call)
    if identity.system_id is None:
        raise ApiError(400, "system_id is missing")
    if runner.managers.pop(identity.system_id, None) is None:
        raise not_found("Runner manager")
    return Response(status_code=204)


async def renew_token(call: Call) -> Response:
    """POST /runners/reset_authentication_token: with the old token."""
    runner, _ = await _known(call)
    call.world.runners.renew_token(runner, at=call.world.clock.now())
    return JSONResponse(token_view(runner), status_code=201)


async def discover_router(_call: Call) -> Response:
    """GET /runners/router/discovery: this instance has no job router."""
    raise ApiError(501, "501 Not Implemented")


async def register_runner(_call: Call) -> Response:
    """POST /runners with a registration token: switched off since GitLab 17.0."""
    raise ApiError(410, "410 Gone - runner registration disallowed")


ENDPOINTS = (
    Endpoint("POST", "/jobs/request", request_job),
    Endpoint("PATCH", "/jobs/{job}/trace", append_trace),
    Endpoint("PUT", "/jobs/{job}", update_job),
    Endpoint("POST", "/runners/verify", verify_runner),
    Endpoint("DELETE", "/runners", delete_runner),
    Endpoint("DELETE", "/runners/managers", delete_manager),
    Endpoint("POST", "/runners/reset_authentication_token", renew_token),
    Endpoint("GET", "/runners/router/discovery", discover_router),
    Endpoint("POST", "/runners", register_runner),
)
