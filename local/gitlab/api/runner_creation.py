"""`POST /user/runners`: how runners come to be."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from local.gitlab.api.call import ApiError, Call, Endpoint, forbidden
from local.gitlab.api.runners import RunnerChange
from local.gitlab.dates import api_date
from local.gitlab.model import Group, Project, Role
from local.gitlab.runners import LimitReached, RunnerRequest


class RunnerBody(RunnerChange):
    """Body of `POST /user/runners`."""

    runner_type: Literal["instance_type", "group_type", "project_type"]
    group_id: int | None = None
    project_id: int | None = None


async def create_runner(call: Call) -> Response:
    """POST /user/runners: the only answer that shows the token."""
    body = await call.body(RunnerBody)
    wanted = _wanted(call, body)
    if not wanted.tags and not wanted.run_untagged:
        message = "Validation failed: Tags list can not be empty when runner is not allowed "
        raise ApiError(400, f"{message}to pick untagged jobs")
    try:
        runner = call.world.runners.add(wanted, at=call.world.clock.now())
    except LimitReached as exc:
        raise ApiError(400, {"base": [str(exc)]}) from exc
    ends = api_date(runner.token_expires_at)
    shown = {"id": runner.id, "token": runner.token, "token_expires_at": ends}
    return JSONResponse(shown, status_code=201)


def _wanted(call: Call, body: RunnerBody) -> RunnerRequest:
    place = _place(call, body)
    allowed = call.user.is_admin if place is None else _may_create(call, place)
    if not allowed:
        raise forbidden()
    return RunnerRequest(
        runner_type=body.runner_type,
        creator=call.user,
        group=place if isinstance(place, Group) else None,
        project=place if isinstance(place, Project) else None,
        description=body.description or "",
        maintenance_note=body.maintenance_note,
        tags=frozenset(body.tag_list or ()),
        run_untagged=body.run_untagged is not False,
        paused=bool(body.paused),
        locked=bool(body.locked),
        access_level=body.access_level or "not_protected",
        maximum_timeout_s=body.maximum_timeout,
    )


def _place(call: Call, body: RunnerBody) -> Group | Project | None:
    """The group or project the runner is for; None for the instance. Raises 400."""
    if body.runner_type == "instance_type":
        return None
    name = "group_id" if body.runner_type == "group_type" else "project_id"
    number: int | None = getattr(body, name)
    if number is None:
        raise ApiError(400, f"{name} is missing")
    accounts = call.world.accounts
    by_id = accounts.groups if name == "group_id" else accounts.projects
    place = by_id.get(number)
    if place is None:
        raise ApiError(400, f"{name} is invalid")
    return place


def _may_create(call: Call, place: Group | Project) -> bool:
    needed = Role.OWNER if isinstance(place, Group) else Role.MAINTAINER
    return call.role_in(place) >= needed


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
    told = {name: lifetimes.get(kind) for name, kind in _INTERVALS.items()}
    return JSONResponse({name: one and int(one.total_seconds()) for name, one in told.items()})


ENDPOINTS = (
    Endpoint(
        method="PUT",
        path="/application/settings",
        handler=change_settings,
        scopes=frozenset({"api"}),
    ),
    Endpoint(
        method="POST",
        path="/user/runners",
        handler=create_runner,
        scopes=frozenset({"api", "create_runner"}),
    ),
)
