"""REST representations of users, groups, runners, projects, pipelines and jobs. Pure."""

from typing import Any

from local.gitlab.dates import api_date
from local.gitlab.model import Group, Job, Pipeline, Project, Runner, User
from local.gitlab.states import FINISHED
from local.gitlab.world import GitLabWorld

Json = dict[str, Any]


def user_view(user: User, world: GitLabWorld) -> Json:
    """A user inside another view."""
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
    """A runner in a list or a job."""
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
    """A runner in full, without its token."""
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


def token_view(runner: Runner) -> Json:
    """A runner's token and its end, for the few answers that show it."""
    return {"token": runner.token, "token_expires_at": api_date(runner.token_expires_at)}


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


def project_view(project: Project, world: GitLabWorld) -> Json:
    """A project."""
    web_url = f"{world.base_url}/{project.full_path}"
    group = project.group
    return {
        "id": project.id,
        "name": project.name,
        "path": project.path,
        "name_with_namespace": project.full_name,
        "path_with_namespace": project.full_path,
        "description": None,
        "created_at": api_date(project.created_at),
        "default_branch": project.default_branch,
        "visibility": "public" if project.is_public else "private",
        "web_url": web_url,
        "http_url_to_repo": f"{web_url}.git",
        "ssh_url_to_repo": f"git@localhost:{project.full_path}.git",
        "namespace": {
            "id": group.id,
            "name": group.name,
            "path": group.path,
            "kind": "group",
            "full_path": group.full_path,
            "parent_id": group.parent.id if group.parent else None,
        },
        "build_timeout": project.build_timeout_s,
        "ci_config_path": project.ci_config_path,
        "shared_runners_enabled": project.shared_runners_enabled,
        "auto_cancel_pending_pipelines": "enabled" if project.cancels_redundant else "disabled",
        "ci_job_token_scope_enabled": False,
        "protect_merge_request_pipelines": project.protects_merge_requests,
        "archived": False,
        "empty_repo": not project.refs,
    }


def pipeline_view(pipeline: Pipeline, world: GitLabWorld) -> Json:
    """A pipeline."""
    started, finished = pipeline.started_at, pipeline.finished_at
    waited = (started - pipeline.created_at).total_seconds() if started else None
    return {
        "id": pipeline.id,
        "iid": pipeline.iid,
        "project_id": pipeline.project.id,
        "name": pipeline.name,
        "sha": pipeline.commit.sha,
        "before_sha": pipeline.before_sha,
        "ref": pipeline.ref,
        "tag": pipeline.is_tag,
        "status": pipeline.status,
        "source": pipeline.source,
        "yaml_errors": pipeline.yaml_errors,
        "warnings": list(pipeline.warnings),
        "user": user_view(pipeline.user, world),
        "created_at": api_date(pipeline.created_at),
        "updated_at": api_date(pipeline.updated_at),
        "started_at": api_date(started),
        "finished_at": api_date(finished),
        "duration": int((finished - started).total_seconds()) if started and finished else None,
        "queued_duration": waited,
        "web_url": f"{world.base_url}/{pipeline.project.full_path}/-/pipelines/{pipeline.id}",
    }


def _commit_view(pipeline: Pipeline) -> Json:
    commit = pipeline.commit
    return {
        "id": commit.sha,
        "short_id": commit.sha[:8],
        "title": commit.message.split("\n", 1)[0],
        "message": commit.message,
        "author_name": commit.author_name,
        "author_email": commit.author_email,
        "authored_date": api_date(commit.authored_at),
        "created_at": api_date(commit.authored_at),
    }


def job_view(job: Job, world: GitLabWorld) -> Json:
    """A job, with its tags; GitLab shows no timeout."""
    at = world.clock.now()
    pipeline = job.pipeline
    return {
        "id": job.id,
        "name": job.spec.name,
        "stage": job.spec.stage,
        "status": job.status,
        "ref": pipeline.ref,
        "tag": pipeline.is_tag,
        "coverage": None,
        "allow_failure": job.allow_failure,
        "created_at": api_date(job.created_at),
        "started_at": api_date(job.started_at),
        "finished_at": api_date(job.finished_at),
        "erased_at": api_date(job.erased_at),
        "duration": job.duration_s(at),
        "queued_duration": job.queued_s(at),
        "failure_reason": job.failure_reason,
        "tag_list": list(job.spec.tags),
        "user": user_view(job.user, world),
        "commit": _commit_view(pipeline),
        "pipeline": {
            "id": pipeline.id,
            "iid": pipeline.iid,
            "project_id": pipeline.project.id,
            "sha": pipeline.commit.sha,
            "ref": pipeline.ref,
            "status": pipeline.status,
        },
        "project": {"ci_job_token_scope_enabled": False},
        "web_url": f"{world.base_url}/{job.project.full_path}/-/jobs/{job.id}",
        "artifacts": _artifact_views(job),
        "artifacts_file": _artifacts_file(job),
        "artifacts_expire_at": api_date(job.artifacts_expire_at),
        "archived": False,
        "runner": runner_view(job.runner, world) if job.runner else None,
        "runner_manager": _manager_of(job, world),
    }


def runner_job_view(job: Job, world: GitLabWorld) -> Json:
    """A job in the list of a runner: with its project, without its tags."""
    view = job_view(job, world)
    del view["tag_list"], view["runner"], view["runner_manager"]
    project = job.project
    view["project"] = {
        "id": project.id,
        "name": project.name,
        "name_with_namespace": project.full_name,
        "path": project.path,
        "path_with_namespace": project.full_path,
        "created_at": api_date(project.created_at),
    }
    return view


def _artifact_views(job: Job) -> list[Json]:
    views = [
        _artifact(sort, report.path.stat().st_size, report.name, report.form)
        for sort, report in job.reports.items()
    ]
    if job.artifacts:
        archive = _artifact("archive", job.artifacts.stat().st_size, job.artifacts_name, "zip")
        views = [archive, *views]
    if job.trace and job.status in FINISHED:
        views.append(_artifact("trace", len(job.trace), "job.log", None))
    return views


def _artifact(sort: str, size: int, name: str, form: str | None) -> Json:
    return {"file_type": sort, "size": size, "filename": name, "file_format": form}


def _artifacts_file(job: Job) -> Json | None:
    if job.artifacts is None:
        return None
    return {"filename": job.artifacts_name, "size": job.artifacts.stat().st_size}


def _manager_of(job: Job, world: GitLabWorld) -> Json | None:
    if job.runner is None or job.system_id not in job.runner.managers:
        return None
    return manager_views(job.runner, world, only=job.system_id)[0]
