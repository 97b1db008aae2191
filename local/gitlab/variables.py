"""Predefined CI/CD variables. Pure.

Source: GitLab docs, "Predefined CI/CD variables".
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from local.gitlab.dates import iso_date
from local.gitlab.model import Job, PipelineRequest, Project

_SLUG_LENGTH = 63


def slug(text: str) -> str:
    """GitLab's `…_SLUG`: lower case, anything but letters and digits a dash, 63 long."""
    return re.sub(r"[^a-z0-9]", "-", text.lower())[:_SLUG_LENGTH].strip("-")


def authorized_clone_url(base_url: str, project: Project, token: str) -> str:
    """The project's HTTP address with a job token's login in it."""
    scheme, rest = base_url.split("://", 1)
    return f"{scheme}://gitlab-ci-token:{token}@{rest}/{project.full_path}.git"


def pipeline_variables(request: PipelineRequest, base_url: str) -> dict[str, str]:
    """What is known before there are jobs: for `rules`, and for every job later."""
    commit = request.commit
    title, _, description = commit.message.partition("\n")
    ref_kind = (
        {"CI_COMMIT_TAG": request.ref} if request.is_tag else {"CI_COMMIT_BRANCH": request.ref}
    )
    is_protected = not request.is_tag and request.project.is_protected(request.ref)
    return {
        "CI": "true",
        "GITLAB_CI": "true",
        **_server_variables(base_url),
        **_project_variables(request.project, base_url),
        **ref_kind,
        "CI_PIPELINE_SOURCE": request.source,
        "CI_COMMIT_SHA": commit.sha,
        "CI_COMMIT_SHORT_SHA": commit.sha[:8],
        "CI_COMMIT_BEFORE_SHA": request.before_sha,
        "CI_COMMIT_REF_NAME": request.ref,
        "CI_COMMIT_REF_SLUG": slug(request.ref),
        "CI_COMMIT_REF_PROTECTED": str(is_protected).lower(),
        "CI_COMMIT_MESSAGE": commit.message,
        "CI_COMMIT_TITLE": title,
        "CI_COMMIT_DESCRIPTION": description.strip(),
        "CI_COMMIT_AUTHOR": f"{commit.author_name} <{commit.author_email}>",
        "CI_COMMIT_TIMESTAMP": iso_date(commit.authored_at) or "",
        "GITLAB_USER_ID": str(request.user.id),
        "GITLAB_USER_LOGIN": request.user.username,
        "GITLAB_USER_NAME": request.user.name,
        "GITLAB_USER_EMAIL": request.user.email,
    }


def _server_variables(base_url: str) -> dict[str, str]:
    parts = urlsplit(base_url)
    return {
        "CI_SERVER_URL": base_url,
        "CI_SERVER_HOST": parts.hostname or "",
        "CI_SERVER_PORT": str(parts.port or 80),
        "CI_SERVER_PROTOCOL": parts.scheme,
        "CI_SERVER_FQDN": parts.netloc,
        "CI_SERVER_NAME": "GitLab",
        "CI_API_V4_URL": f"{base_url}/api/v4",
        "CI_API_GRAPHQL_URL": f"{base_url}/api/graphql",
    }


def _project_variables(project: Project, base_url: str) -> dict[str, str]:
    return {
        "CI_PROJECT_ID": str(project.id),
        "CI_PROJECT_NAME": project.path,
        "CI_PROJECT_TITLE": project.name,
        "CI_PROJECT_PATH": project.full_path,
        "CI_PROJECT_PATH_SLUG": slug(project.full_path),
        "CI_PROJECT_NAMESPACE": project.group.full_path,
        "CI_PROJECT_NAMESPACE_ID": str(project.group.id),
        "CI_PROJECT_ROOT_NAMESPACE": project.group.lineage[-1].path,
        "CI_PROJECT_URL": f"{base_url}/{project.full_path}",
        "CI_PROJECT_VISIBILITY": "public" if project.is_public else "private",
        "CI_DEFAULT_BRANCH": project.default_branch,
        "CI_CONFIG_PATH": project.ci_config_path or ".gitlab-ci.yml",
    }


def job_variables(job: Job, base_url: str) -> dict[str, str]:
    """What one job sees: predefined, then the CI file's, then the pipeline's own."""
    pipeline, spec = job.pipeline, job.spec
    request = PipelineRequest(
        project=job.project,
        ref=pipeline.ref,
        is_tag=pipeline.is_tag,
        commit=pipeline.commit,
        before_sha=pipeline.before_sha,
        source=pipeline.source,
        user=job.user,
    )
    project_url = f"{base_url}/{job.project.full_path}"
    return {
        **pipeline_variables(request, base_url),
        "CI_PIPELINE_ID": str(pipeline.id),
        "CI_PIPELINE_IID": str(pipeline.iid),
        "CI_PIPELINE_URL": f"{project_url}/-/pipelines/{pipeline.id}",
        "CI_PIPELINE_CREATED_AT": iso_date(pipeline.created_at) or "",
        "CI_PIPELINE_NAME": pipeline.name or "",
        "CI_JOB_ID": str(job.id),
        "CI_JOB_NAME": spec.name,
        "CI_JOB_NAME_SLUG": slug(spec.name),
        "CI_JOB_STAGE": spec.stage,
        "CI_JOB_URL": f"{project_url}/-/jobs/{job.id}",
        "CI_JOB_STARTED_AT": iso_date(job.started_at) or "",
        "CI_JOB_TIMEOUT": str(job.timeout_s or job.project.build_timeout_s),
        "CI_JOB_TOKEN": job.token,
        "CI_JOB_GROUP_NAME": re.sub(r"[\s:/\\]+\d+[\s:/\\]+\d+$", "", spec.name),
        "CI_REPOSITORY_URL": authorized_clone_url(base_url, job.project, job.token),
        "CI_NODE_TOTAL": str(spec.id_in_parallel[1] if spec.id_in_parallel else 1),
        **_optional_variables(job),
        **spec.variables,
        **pipeline.variables,
    }


def _optional_variables(job: Job) -> dict[str, str]:
    spec = job.spec
    found = {}
    if spec.id_in_parallel:
        found["CI_NODE_INDEX"] = str(spec.id_in_parallel[0])
    if spec.image:
        found["CI_JOB_IMAGE"] = spec.image.name
    if spec.when == "manual":
        found["CI_JOB_MANUAL"] = "true"
    if spec.environment:
        found["CI_ENVIRONMENT_NAME"] = spec.environment.name
        found["CI_ENVIRONMENT_SLUG"] = slug(spec.environment.name)
    return found
