"""The calls that GitLab does not have: state, faults, time."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from local.gitlab.api.call import Call, Endpoint, forbidden
from local.gitlab.api.views import Json
from local.gitlab.chaos import ChaosOrder
from local.gitlab.dates import api_date
from local.gitlab.model import Job, Runner
from local.gitlab.sweep import sweep
from local.gitlab.webhooks.hooks import alert_status, note_success


class ClockOrder(BaseModel):
    """Body of `POST /_sim/clock`."""

    advance_s: float = Field(ge=0)


def _check_root(call: Call) -> None:
    if not call.user.is_admin:
        raise forbidden()


def _job(job: Job) -> Json:
    return {
        "id": job.id,
        "name": job.spec.name,
        "stage": job.spec.stage,
        "status": job.status,
        "tags": list(job.spec.tags),
        "project_id": job.project.id,
        "pipeline_id": job.pipeline.id,
        "runner_id": job.runner.id if job.runner else None,
        "system_id": job.system_id,
        "failure_reason": job.failure_reason,
        "exit_code": job.exit_code,
        "retries_count": job.retries_count,
        "is_retried": job.is_retried,
        "timeout_s": job.timeout_s,
        "created_at": api_date(job.created_at),
        "queued_at": api_date(job.queued_at),
        "started_at": api_date(job.started_at),
        "finished_at": api_date(job.finished_at),
        "heard_at": api_date(job.heard_at),
        "trace_bytes": len(job.trace),
        "has_artifacts": job.artifacts is not None,
    }


def _runner(runner: Runner) -> Json:
    return {
        "id": runner.id,
        "runner_type": runner.runner_type,
        "description": runner.description,
        "tags": sorted(runner.tags),
        "run_untagged": runner.run_untagged,
        "paused": runner.paused,
        "contacted_at": api_date(runner.contacted_at),
        "heard_at": api_date(runner.heard_at),
        "system_ids": list(runner.managers),
        "job_ids": sorted(runner.jobs),
    }


async def get_state(call: Call) -> Response:
    """GET /_sim/state: all records in one answer."""
    _check_root(call)
    world = call.world
    at = world.clock.now()
    state = {
        "now": api_date(at),
        "projects": [
            {"id": p.id, "path": p.full_path, "refs": p.refs}
            for p in world.accounts.projects.values()
        ],
        "pipelines": [
            {
                "id": p.id,
                "project_id": p.project.id,
                "ref": p.ref,
                "sha": p.commit.sha,
                "status": p.status,
                "yaml_errors": p.yaml_errors,
                "warnings": list(p.warnings),
            }
            for p in world.ci.pipelines.values()
        ],
        "jobs": [_job(job) for job in world.ci.jobs.values()],
        "runners": [_runner(runner) for runner in world.runners.by_id.values()],
        "hooks": [
            {
                "id": hook.id,
                "url": hook.url,
                "alert_status": alert_status(hook, at),
                "failures": hook.failures,
                "deliveries": len(hook.deliveries),
            }
            for hook in world.hooks.by_id.values()
        ],
    }
    return JSONResponse(state)


async def set_chaos(call: Call) -> Response:
    """POST /_sim/chaos."""
    _check_root(call)
    order = await call.body(ChaosOrder)
    call.world.chaos.apply(order, at=call.world.clock.now())
    for hook in call.world.hooks.by_id.values():
        if order.hook_disabled:
            hook.is_disabled = True
        elif order.hook_disabled is False:
            note_success(hook)
    chaos = call.world.chaos
    return JSONResponse({"webhooks": chaos.webhooks.model_dump(), "api": chaos.api.model_dump()})


async def get_calls(call: Call) -> Response:
    """GET /_sim/calls: API calls since the start or the last reset."""
    _check_root(call)
    return JSONResponse(dict(sorted(call.world.calls.items())))


async def reset_calls(call: Call) -> Response:
    """POST /_sim/calls/reset."""
    _check_root(call)
    call.world.calls.clear()
    return Response(status_code=204)


async def advance_clock(call: Call) -> Response:
    """POST /_sim/clock: skip some time and apply the rules of time."""
    _check_root(call)
    order = await call.body(ClockOrder)
    call.world.clock.advance(timedelta(seconds=order.advance_s))
    sweep(call.world.ci, call.world.runners)
    return JSONResponse({"now": api_date(call.world.clock.now())})


_ADMIN = frozenset({"api"})

ENDPOINTS = (
    Endpoint(method="GET", path="/_sim/state", handler=get_state, scopes=_ADMIN),
    Endpoint(method="POST", path="/_sim/chaos", handler=set_chaos, scopes=_ADMIN),
    Endpoint(method="GET", path="/_sim/calls", handler=get_calls, scopes=_ADMIN),
    Endpoint(method="POST", path="/_sim/calls/reset", handler=reset_calls, scopes=_ADMIN),
    Endpoint(method="POST", path="/_sim/clock", handler=advance_clock, scopes=_ADMIN),
)
