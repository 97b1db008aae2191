"""Runners over REST: created, listed, changed, assigned, deleted."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Literal

from pydantic import BaseModel, Field, field_validator
from starlette.responses import JSONResponse, Response

from local.gitlab.api.call import READ, WRITE, ApiError, Call, Endpoint, forbidden, not_found
from local.gitlab.api.jobs import wanted_statuses
from local.gitlab.api.paging import page_of
from local.gitlab.api.views import (
    manager_views,
    runner_detail,
    runner_job_view,
    runner_view,
    token_view,
)
from local.gitlab.model import Group, Project, Role, Runner
from local.gitlab.runners import LimitReached

_MANAGE = frozenset({"api", "manage_runner"})
_SEE = READ | {"manage_runner"}
_CREATE = frozenset({"api", "create_runner"})


class RunnerChange(BaseModel):
    """Body of `PUT /runners/:id`: absent fields stay."""

    description: str | None = None
    paused: bool | None = None
    active: bool | None = None  # the old word for not paused
    tag_list: list[str] | None = None
    run_untagged: bool | None = None
    locked: bool | None = None
    access_level: Literal["not_protected", "ref_protected"] | None = None
    maximum_timeout: int | None = Field(default=None, ge=600)
    maintenance_note: str | None = Field(default=None, max_length=1024)

    @field_validator("tag_list", mode="before")
    @classmethod
    def split_tags(cls, value: object) -> object:
        """Accept a comma-separated string as well as a list."""
        if isinstance(value, str):
            return [tag.strip() for tag in value.split(",") if tag.strip()]
        return value


class RunnerBody(RunnerChange):
    """Body of `POST /user/runners`."""

    runner_type: Literal["instance_type", "group_type", "project_type"]
    group_id: int | None = None
    project_id: int | None = None


async def create_runner(call: Call) -> Response:
    """POST /user/runners: the only answer that shows the token."""
    body = await call.body(RunnerBody)
    new = _new_runner(call, body)
    if not new.tags and not new.run_untagged:
        message = "Validation failed: Tags list can not be empty when runner is not allowed "
        raise ApiError(400, f"{message}to pick untagged jobs")
    try:
        runner = call.world.runners.add(new)
    except LimitReached as exc:
        raise ApiError(400, {"base": [str(exc)]}) from exc
    return JSONResponse({"id": runner.id, **token_view(runner)}, status_code=201)


def _new_runner(call: Call, body: RunnerBody) -> Runner:
    owner = _owner(call, body)
    allowed = call.user.is_admin if owner is None else _may_create(call, owner)
    if not allowed:
        raise forbidden()
    return Runner(
        runner_type=body.runner_type,
        created_at=call.world.clock.now(),
        creator=call.user,
        group=owner if isinstance(owner, Group) else None,
        projects={owner.id: owner} if isinstance(owner, Project) else {},
        description=body.description or "",
        maintenance_note=body.maintenance_note,
        tags=frozenset(body.tag_list or ()),
        run_untagged=body.run_untagged is not False,
        paused=bool(body.paused),
        locked=bool(body.locked),
        access_level=body.access_level or "not_protected",
        maximum_timeout_s=body.maximum_timeout,
    )


def _owner(call: Call, body: RunnerBody) -> Group | Project | None:
    """The group or project the runner is for; None for the instance. Raises 400."""
    if body.runner_type == "instance_type":
        return None
    name = "group_id" if body.runner_type == "group_type" else "project_id"
    number: int | None = getattr(body, name)
    if number is None:
        raise ApiError(400, f"{name} is missing")
    accounts = call.world.accounts
    by_id = accounts.groups if name == "group_id" else accounts.projects
    owner = by_id.get(number)
    if owner is None:
        raise ApiError(400, f"{name} is invalid")
    return owner


def _may_create(call: Call, owner: Group | Project) -> bool:
    needed = Role.OWNER if isinstance(owner, Group) else Role.MAINTAINER
    return call.role_in(owner) >= needed


class Intervals(BaseModel):
    """Body of `PUT /application/settings`, as far as runner tokens go: seconds, or null."""

    runner_token_expiration_interval: int | None = Field(default=None, gt=0)
    group_runner_token_expiration_interval: int | None = Field(default=None, gt=0)
    project_runner_token_expiration_interval: int | None = Field(default=None, gt=0)


_INTERVALS = {
    "runner_token_expiration_interval": "instance_type",
    "group_runner_token_expiration_interval": "group_type",
    "project_runner_token_expiration_interval": "project_type",
}


async def change_settings(call: Call) -> Response:
    """PUT /application/settings: how long tokens of new runners are valid."""
    if not call.user.is_admin:
        raise forbidden()
    wanted = await call.body(Intervals)
    lifetimes = call.world.runners.token_lifetimes
    for name in wanted.model_fields_set:
        seconds = getattr(wanted, name)
        lifetimes.pop(_INTERVALS[name], None)
        if seconds is not None:
            lifetimes[_INTERVALS[name]] = timedelta(seconds=seconds)
    shown = {name: lifetimes.get(kind) for name, kind in _INTERVALS.items()}
    return JSONResponse({name: time and int(time.total_seconds()) for name, time in shown.items()})


def _may_manage(call: Call, runner: Runner) -> bool:
    if call.user.is_admin or runner.creator is call.user:
        return True
    if runner.group is not None:
        return call.role_in(runner.group) >= Role.OWNER
    return any(call.role_in(p) >= Role.MAINTAINER for p in runner.projects.values())


def _runner(call: Call) -> Runner:
    runner = call.world.runners.by_id.get(call.number("runner"))
    if runner is None:
        raise not_found("Runner")
    if not _may_manage(call, runner):
        raise forbidden("No access granted")
    return runner


async def get_runner(call: Call) -> Response:
    """GET /runners/:id."""
    return JSONResponse(runner_detail(_runner(call), call.world))


async def change_runner(call: Call) -> Response:
    """PUT /runners/:id."""
    runner = _runner(call)
    change = await call.body(RunnerChange)
    sent = change.model_fields_set
    if change.active is not None and change.paused is None:
        runner.paused = not change.active
    for name in ("description", "paused", "run_untagged", "locked", "access_level"):
        value = getattr(change, name)
        if value is not None:
            setattr(runner, name, value)
    if change.tag_list is not None:
        runner.tags = frozenset(change.tag_list)
    if "maximum_timeout" in sent:
        runner.maximum_timeout_s = change.maximum_timeout
    if "maintenance_note" in sent:
        runner.maintenance_note = change.maintenance_note
    call.world.ci.index.queue.touch()
    return JSONResponse(runner_detail(runner, call.world))


async def delete_runner(call: Call) -> Response:
    """DELETE /runners/:id."""
    runner = _runner(call)
    if len(runner.projects) > 1:
        raise forbidden("Runner associated with more than one project")
    call.world.runners.delete(runner)
    return Response(status_code=204)


async def renew_token(call: Call) -> Response:
    """POST /runners/:id/reset_authentication_token."""
    runner = _runner(call)
    call.world.runners.renew_token(runner, at=call.world.clock.now())
    return JSONResponse(token_view(runner), status_code=201)


async def list_runner_jobs(call: Call) -> Response:
    """GET /runners/:id/jobs: the jobs that it took, in any state."""
    runner = _runner(call)
    query = call.request.query_params
    statuses = wanted_statuses(call)
    jobs = [
        job
        for _, job in sorted(runner.jobs.items())
        if (statuses is None or job.status in statuses)
        and query.get("status") in (None, job.status)
        and query.get("system_id") in (None, job.system_id)
    ]
    return page_of(call.request, jobs, lambda job: runner_job_view(job, call.world))


async def list_managers(call: Call) -> Response:
    """GET /runners/:id/managers."""
    return JSONResponse(manager_views(_runner(call), call.world))


def _page(call: Call, runners: Iterable[Runner]) -> Response:
    query = call.request.query_params
    at = call.world.clock.now()
    tags = {tag for tag in query.get("tag_list", "").split(",") if tag}
    tests: tuple[Callable[[Runner], bool], ...] = (
        lambda r: tags <= r.tags,
        lambda r: "paused" not in query or r.paused == call.flag("paused"),
        lambda r: query.get("type") in (None, r.runner_type),
        lambda r: query.get("status") in (None, call.world.runners.status(r, at)),
    )
    matching = [runner for runner in runners if all(test(runner) for test in tests)]
    return page_of(call.request, matching, lambda runner: runner_view(runner, call.world))


async def list_own_runners(call: Call) -> Response:
    """GET /runners: the runners that the caller may manage."""
    return _page(call, (r for r in call.world.runners.by_id.values() if _may_manage(call, r)))


async def list_all_runners(call: Call) -> Response:
    """GET /runners/all: administrators only."""
    if not call.user.is_admin:
        raise forbidden()
    return _page(call, call.world.runners.by_id.values())


async def list_project_runners(call: Call) -> Response:
    """GET /projects/:id/runners: its own, its groups' and the instance's."""
    project = call.project(role=Role.MAINTAINER)
    lineage = project.group.lineage
    return _page(
        call,
        (
            runner
            for runner in call.world.runners.by_id.values()
            if runner.runner_type == "instance_type"
            or runner.group in lineage
            or project.id in runner.projects
        ),
    )


async def list_group_runners(call: Call) -> Response:
    """GET /groups/:id/runners: its own, those of the groups above, and the instance's."""
    lineage = call.group(role=Role.MAINTAINER).lineage
    return _page(
        call,
        (
            runner
            for runner in call.world.runners.by_id.values()
            if runner.runner_type == "instance_type" or runner.group in lineage
        ),
    )


class Assignment(BaseModel):
    """Body of `POST /projects/:id/runners`."""

    runner_id: int


async def assign_runner(call: Call) -> Response:
    """POST /projects/:id/runners: let a project runner serve this project too."""
    project = call.project(role=Role.MAINTAINER)
    wanted = await call.body(Assignment)
    runner = call.world.runners.by_id.get(wanted.runner_id)
    if runner is None:
        raise not_found("Runner")
    if runner.runner_type != "project_type" or runner.locked or not _may_manage(call, runner):
        raise forbidden("Runner is locked or not a project runner")
    runner.projects[project.id] = project
    call.world.ci.index.queue.touch()
    return JSONResponse(runner_view(runner, call.world), status_code=201)


async def unassign_runner(call: Call) -> Response:
    """DELETE /projects/:id/runners/:runner_id; a runner keeps at least one project."""
    project = call.project(role=Role.MAINTAINER)
    runner = call.world.runners.by_id.get(call.number("runner"))
    if runner is None or project.id not in runner.projects:
        raise not_found("Runner")
    if len(runner.projects) == 1:
        raise forbidden("Only one project associated with the runner. Please remove the runner")
    del runner.projects[project.id]
    return Response(status_code=204)


_OF_PROJECT = "/projects/{project}/runners"
_RUNNER = "/runners/{runner}"

ENDPOINTS = (
    Endpoint("PUT", "/application/settings", change_settings, WRITE),
    Endpoint("POST", "/user/runners", create_runner, _CREATE),
    Endpoint("GET", "/runners", list_own_runners, READ),
    Endpoint("GET", "/runners/all", list_all_runners, READ),
    Endpoint("GET", _RUNNER, get_runner, _SEE),
    Endpoint("PUT", _RUNNER, change_runner, _MANAGE),
    Endpoint("DELETE", _RUNNER, delete_runner, _MANAGE),
    Endpoint("GET", f"{_RUNNER}/jobs", list_runner_jobs, _SEE),
    Endpoint("GET", f"{_RUNNER}/managers", list_managers, _SEE),
    Endpoint("POST", f"{_RUNNER}/reset_authentication_token", renew_token, _MANAGE),
    Endpoint("GET", _OF_PROJECT, list_project_runners, READ),
    Endpoint("POST", _OF_PROJECT, assign_runner, WRITE),
    Endpoint("DELETE", f"{_OF_PROJECT}/{{runner}}", unassign_runner, WRITE),
    Endpoint("GET", "/groups/{group}/runners", list_group_runners, READ),
)
