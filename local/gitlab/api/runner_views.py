"""REST representations of users, groups and runners. Pure."""

from __future__ import annotations

from typing import Any

from local.gitlab.dates import api_date
from local.gitlab.model import Group, Runner, User
from local.gitlab.states import FINISHED
from local.gitlab.world import GitLabWorld

Json = dict[str, Any]


def user_view(user: User, world: GitLabWorld) -> Json:
    """A user as embedded in other things."""
    return {
        "id": user.id,
        "username": user.username,
        "name": user.name,
        "state": "active",
        "avatar_url": None,
        "web_url": f"{world.base_url}/{user.username}",
    }


def group_view(group: Group, world: GitLabWorld) -> Json:
    """A group."""
    return {
        "id": group.id,
        "name": group.name,
        "path": group.path,
        "full_name": group.full_name,
        "full_path": group.full_path,
        "parent_id": group.parent.id if group.parent else None,
        "visibility": "private",
        "web_url": f"{world.base_url}/groups/{group.full_path}",
    }


def runner_view(runner: Runner, world: GitLabWorld) -> Json:
    """A runner as it stands in lists and in jobs."""
    at = world.clock.now()
    return {
        "id": runner.id,
        "description": runner.description,
        "ip_address": None,
        "active": not runner.paused,
        "paused": runner.paused,
        "is_shared": runner.runner_type == "instance_type",
        "runner_type": runner.runner_type,
        "name": None,
        "online": world.runners.is_online(runner, at),
        "status": world.runners.status(runner, at),
        "created_at": api_date(runner.created_at),
        "created_by": user_view(runner.creator, world),
        "job_execution_status": "active" if _is_busy(runner) else "idle",
    }


def _is_busy(runner: Runner) -> bool:
    return any(job.status not in FINISHED for job in runner.jobs.values())


def runner_detail(runner: Runner, world: GitLabWorld) -> Json:
    """A runner by itself. Never its token."""
    return {
        **runner_view(runner, world),
        "tag_list": sorted(runner.tags),
        "run_untagged": runner.run_untagged,
        "locked": runner.locked,
        "maximum_timeout": runner.maximum_timeout_s,
        "access_level": runner.access_level,
        "maintenance_note": runner.maintenance_note,
        "contacted_at": api_date(runner.contacted_at),
        "version": _latest(runner, "version"),
        "revision": _latest(runner, "revision"),
        "platform": _latest(runner, "platform"),
        "architecture": _latest(runner, "architecture"),
        "projects": [
            {"id": p.id, "name": p.name, "path_with_namespace": p.full_path}
            for p in runner.projects.values()
        ],
        "groups": [group_view(runner.group, world)] if runner.group else [],
    }


def _latest(runner: Runner, field: str) -> str | None:
    newest = max(runner.managers.values(), key=lambda manager: manager.id, default=None)
    return getattr(newest, field) if newest else None


def manager_views(runner: Runner, world: GitLabWorld, *, only: str | None = None) -> list[Json]:
    """The machines behind a runner's token."""
    at = world.clock.now()
    return [
        {
            "id": manager.id,
            "system_id": manager.system_id,
            "version": manager.version,
            "revision": manager.revision,
            "platform": manager.platform,
            "architecture": manager.architecture,
            "created_at": api_date(manager.created_at),
            "contacted_at": api_date(manager.contacted_at),
            "ip_address": manager.ip_address,
            "status": world.runners.status(manager, at),
        }
        for manager in runner.managers.values()
        if only is None or manager.system_id == only
    ]
