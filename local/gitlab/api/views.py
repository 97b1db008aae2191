"""REST representations of projects, pipelines and jobs. Pure."""

from __future__ import annotations

from local.gitlab.api.runner_views import Json, manager_views, runner_view, user_view
from local.gitlab.dates import api_date
from local.gitlab.model import Job, Pipeline, Project
from local.gitlab.states import FINISHED
from local.gitlab.world import GitLabWorld


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
    """A job: its tags are here, its timeout is nowhere."""
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
    """A job as a runner's list shows it: with its project, without its tags."""
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
    views: list[Json] = []
    if job.artifacts:
        size = job.artifacts.stat().st_size
        views.append(
            {
                "file_type": "archive",
                "size": size,
                "filename": job.artifacts_name,
                "file_format": "zip",
            }
        )
    views.extend(
        {
            "file_type": sort,
            "size": report.path.stat().st_size,
            "filename": report.name,
            "file_format": report.form,
        }
        for sort, report in job.reports.items()
    )
    if job.trace and job.status in FINISHED:
        views.append(
            {
                "file_type": "trace",
                "size": len(job.trace),
                "filename": "job.log",
                "file_format": None,
            }
        )
    return views


def _artifacts_file(job: Job) -> Json | None:
    if job.artifacts is None:
        return None
    return {"filename": job.artifacts_name, "size": job.artifacts.stat().st_size}


def _manager_of(job: Job, world: GitLabWorld) -> Json | None:
    if job.runner is None or job.system_id not in job.runner.managers:
        return None
    return manager_views(job.runner, world, only=job.system_id)[0]
