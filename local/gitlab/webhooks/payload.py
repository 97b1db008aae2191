"""Bodies of Job Hooks and Pipeline Hooks, field by field as GitLab writes them. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from local.gitlab.dates import hook_date, iso_date
from local.gitlab.environments import tier_of
from local.gitlab.model import Commit, Job, Pipeline, Project, Runner, User
from local.gitlab.states import Status

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobMoment:
    """The facts of a Job Hook at the transition; the others are read when it is sent."""

    job: Job
    status: Status
    started_at: datetime | None
    finished_at: datetime | None
    duration_s: float | None

    @classmethod
    def of(cls, job: Job, at: datetime) -> "JobMoment":
        """The job as it is now."""
        return cls(
            job=job,
            status=job.status,
            started_at=job.started_at,
            finished_at=job.finished_at,
            duration_s=job.duration_s(at),
        )


def job_hook(moment: JobMoment, *, base_url: str, at: datetime) -> Json:
    """The body of one Job Hook, sent at `at`."""
    job = moment.job
    pipeline = job.pipeline
    project = job.project
    is_new = moment.status is Status.CREATED  # the newest GitLab blanks later facts
    return {
        "object_kind": "build",
        "ref": pipeline.ref,
        "tag": pipeline.is_tag,
        "before_sha": pipeline.before_sha,
        "sha": pipeline.commit.sha,
        "retries_count": job.retries_count,
        "build_id": job.id,
        "build_name": job.spec.name,
        "build_stage": job.spec.stage,
        "build_status": moment.status,
        "build_created_at": hook_date(job.created_at),
        "build_started_at": hook_date(moment.started_at),
        "build_finished_at": hook_date(moment.finished_at),
        "build_created_at_iso": iso_date(job.created_at),
        "build_started_at_iso": iso_date(moment.started_at),
        "build_finished_at_iso": iso_date(moment.finished_at),
        "build_duration": moment.duration_s,
        "build_queued_duration": None if is_new else job.queued_s(at),
        "build_allow_failure": job.allow_failure,
        "build_failure_reason": None if is_new else job.failure_reason or "unknown_failure",
        "pipeline_id": pipeline.id,
        "runner": None if is_new or job.runner is None else _runner(job.runner),
        "project_id": project.id,
        "project_name": project.full_name,
        "user": _user(job.user, base_url),
        "commit": _commit(pipeline, base_url, at),
        "repository": _repository(project, base_url),
        "project": _project(project, base_url),
        "environment": _environment(job),
    }


def pipeline_hook(pipeline: Pipeline, *, base_url: str, at: datetime) -> Json:
    """The body of one Pipeline Hook; retried jobs are left out."""
    return {
        "object_kind": "pipeline",
        "object_attributes": {
            "id": pipeline.id,
            "iid": pipeline.iid,
            "name": pipeline.name,
            "ref": pipeline.ref,
            "tag": pipeline.is_tag,
            "sha": pipeline.commit.sha,
            "before_sha": pipeline.before_sha,
            "source": pipeline.source,
            "status": pipeline.status,
            "stages": list(pipeline.stages),
            "created_at": hook_date(pipeline.created_at),
            "finished_at": hook_date(pipeline.finished_at),
            "duration": _seconds(pipeline),
            "url": f"{base_url}/{pipeline.project.full_path}/-/pipelines/{pipeline.id}",
        },
        "merge_request": _merge_request(pipeline, base_url),
        "user": _user(pipeline.user, base_url),
        "project": _project(pipeline.project, base_url),
        "commit": _git_commit(pipeline.commit),
        "builds": [_build(job, base_url, at) for job in pipeline.latest.values()],
    }


def _merge_request(pipeline: Pipeline, base_url: str) -> Json | None:
    merge_request = pipeline.merge_request
    if merge_request is None:
        return None
    return {
        "id": merge_request.id,
        "iid": merge_request.iid,
        "title": merge_request.title,
        "source_branch": merge_request.source_branch,
        "source_project_id": merge_request.project.id,
        "target_branch": merge_request.target_branch,
        "target_project_id": merge_request.project.id,
        "state": merge_request.state,
        "merge_status": "can_be_merged",
        "detailed_merge_status": "mergeable",
        "url": f"{base_url}/{merge_request.project.full_path}/-/merge_requests/{merge_request.iid}",
    }


def _runner(runner: Runner) -> Json:
    return {
        "id": runner.id,
        "description": runner.description,
        "runner_type": runner.runner_type,
        "active": not runner.paused,
        "is_shared": runner.runner_type == "instance_type",
        "tags": sorted(runner.tags),
    }


def _user(user: User, base_url: str) -> Json:
    return {
        "id": user.id,
        "name": user.name,
        "username": user.username,
        "avatar_url": f"{base_url}/uploads/-/system/user/avatar/{user.id}/avatar.png",
        "email": "[REDACTED]",
    }


def _commit(pipeline: Pipeline, base_url: str, at: datetime) -> Json:
    commit = pipeline.commit
    return {
        "id": pipeline.id,  # the pipeline's id: GitLab's own oddity
        "name": pipeline.name,
        "sha": commit.sha,
        "message": commit.message,
        "author_name": commit.author_name,
        "author_email": commit.author_email,
        "author_url": f"{base_url}/{pipeline.user.username}",
        "status": pipeline.status,
        "duration": _seconds(pipeline),
        "started_at": hook_date(pipeline.started_at),
        "finished_at": hook_date(pipeline.finished_at),
        "started_at_iso": iso_date(pipeline.started_at),
        "finished_at_iso": iso_date(pipeline.finished_at),
    }


def _seconds(pipeline: Pipeline) -> int | None:
    if pipeline.started_at is None or pipeline.finished_at is None:
        return None
    return int((pipeline.finished_at - pipeline.started_at).total_seconds())


def _repository(project: Project, base_url: str) -> Json:
    urls = _urls(project, base_url)
    return {
        "name": project.name,
        "url": urls["git_ssh_url"],
        "description": "",
        "homepage": urls["web_url"],
        "git_http_url": urls["git_http_url"],
        "git_ssh_url": urls["git_ssh_url"],
        "visibility_level": 20 if project.is_public else 0,
    }


def _project(project: Project, base_url: str) -> Json:
    return {
        "id": project.id,
        "name": project.name,
        "description": "",
        "avatar_url": None,
        **_urls(project, base_url),
        "namespace": project.group.name,
        "visibility_level": 20 if project.is_public else 0,
        "path_with_namespace": project.full_path,
        "default_branch": project.default_branch,
        "ci_config_path": project.ci_config_path,
    }


def _urls(project: Project, base_url: str) -> dict[str, str]:
    host = base_url.split("://", 1)[1].split(":", 1)[0]
    return {
        "web_url": f"{base_url}/{project.full_path}",
        "git_http_url": f"{base_url}/{project.full_path}.git",
        "git_ssh_url": f"git@{host}:{project.full_path}.git",
    }


def _environment(job: Job) -> Json | None:
    environment = job.spec.environment
    if environment is None:
        return None
    return {
        "name": environment.name,
        "action": environment.action,
        "deployment_tier": tier_of(environment),
    }


def _git_commit(commit: Commit) -> Json:
    return {
        "id": commit.sha,
        "message": commit.message,
        "title": commit.message.split("\n", 1)[0],
        "timestamp": iso_date(commit.authored_at),
        "author": {"name": commit.author_name, "email": commit.author_email},
    }


def _build(job: Job, base_url: str, at: datetime) -> Json:
    size = job.artifacts.stat().st_size if job.artifacts else None
    return {
        "id": job.id,
        "stage": job.spec.stage,
        "name": job.spec.name,
        "status": job.status,
        "created_at": hook_date(job.created_at),
        "started_at": hook_date(job.started_at),
        "finished_at": hook_date(job.finished_at),
        "duration": job.duration_s(at),
        "queued_duration": job.queued_s(at),
        "failure_reason": job.failure_reason,
        "when": job.spec.when,
        "manual": job.spec.when == "manual",
        "allow_failure": job.allow_failure,
        "user": _user(job.user, base_url),
        "runner": _runner(job.runner) if job.runner else None,
        "artifacts_file": {"filename": job.artifacts_name if size else None, "size": size},
        "environment": _environment(job),
    }
