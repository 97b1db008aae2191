"""The body of a 201 from `POST /jobs/request`. Pure.

The runner checks types: whole numbers are int, counts for people are str, `run` is absent.
Source: gitlab-runner, common/spec/spec.go.
"""

from typing import Any

from local.gitlab.ci.types import ArtifactSpec, CacheSpec, ImageSpec
from local.gitlab.failures import FROM_RUNNER
from local.gitlab.model import Job
from local.gitlab.reports import REPORTS
from local.gitlab.states import Status
from local.gitlab.variables import (
    GitLabInstance,
    Values,
    authorized_clone_url,
    expand_all,
    job_variables,
)

Json = dict[str, Any]

_DEFAULT_DEPTH = 20


def sent_variables(job: Job, instance: GitLabInstance) -> Values:
    """The variables of the job, with those of earlier jobs, all expanded."""
    inherited: dict[str, str] = {}
    for other in _earlier(job):
        inherited |= other.dotenv
    return expand_all(job_variables(job, instance, inherited=inherited))


def job_payload(job: Job, *, instance: GitLabInstance, queue_depth: int, queued_s: float) -> Json:
    """The job in the shape that the runner decodes."""
    variables = sent_variables(job, instance)
    depth = variables.get("GIT_DEPTH")
    timeout = job.timeout_s or job.project.build_timeout_s
    return {
        "id": job.id,
        "token": job.token,
        "allow_git_fetch": True,
        "job_info": _job_info(job, queue_depth, queued_s),
        "git_info": _git_info(job, instance.base_url, _depth(depth.value if depth else "")),
        "runner_info": {"timeout": timeout, "runner_session_url": None},
        "inputs": [],
        "variables": [
            {
                "key": key,
                "value": variable.value,
                "public": variable.is_public,
                "file": variable.is_file,
                "masked": variable.is_masked,
                "raw": variable.is_raw,
            }
            for key, variable in variables.items()
        ],
        "steps": _steps(job, timeout),
        "image": _image(job.spec.image),
        "services": [_image(service) for service in job.spec.services],
        "artifacts": [entry for spec in job.spec.artifacts for entry in _artifacts(spec)] or None,
        "cache": [_cache(job, spec) for spec in job.spec.cache],
        "credentials": [],
        "dependencies": [_dependency(other) for other in dependencies_of(job)],
        "hooks": _hooks(job),
        "features": {
            "trace_sections": True,
            "token_mask_prefixes": ["glpat-"],
            "failure_reasons": list(FROM_RUNNER),
        },
    }


def dependencies_of(job: Job) -> list[Job]:
    """The finished jobs whose artifacts this job gets, in order of id."""
    return [other for other in _earlier(job) if other.artifacts is not None]


def _earlier(job: Job) -> list[Job]:
    """The jobs whose files and variables this job gets, in order of id."""
    spec, pipeline = job.spec, job.pipeline
    before = set(pipeline.stages[: pipeline.stages.index(spec.stage)])
    needed = {need.job for need in spec.needs or () if need.artifacts}

    def is_wanted(other: Job) -> bool:
        name = other.spec.name
        if spec.dependencies is not None and name not in spec.dependencies:
            return False
        return other.spec.stage in before if spec.needs is None else name in needed

    return sorted(filter(is_wanted, pipeline.latest.values()), key=lambda other: other.id)


def _job_info(job: Job, queue_depth: int, queued_s: float) -> Json:
    group = job.project.group
    running = job.project.by_status.get(Status.RUNNING, {}).values()
    on_instance = [j for j in running if j.runner and j.runner.runner_type == "instance_type"]
    return {
        "id": job.id,
        "name": job.spec.name,
        "stage": job.spec.stage,
        "pipeline_id": job.pipeline.id,
        "project_id": job.project.id,
        "project_name": job.project.name,
        "project_full_path": job.project.full_path,
        "namespace_id": group.id,
        "root_namespace_id": group.lineage[-1].id,
        "organization_id": 1,
        "instance_id": "simulator",
        "instance_uuid": "simulator",
        "user_id": job.user.id,
        "scoped_user_id": None,
        "time_in_queue_seconds": int(queued_s),
        "project_jobs_running_on_instance_runners_count": str(len(on_instance)),
        "queue_size": queue_depth,
        "queue_depth": queue_depth,
    }


def _git_info(job: Job, base_url: str, depth: int) -> Json:
    pipeline = job.pipeline
    return {
        "repo_url": authorized_clone_url(base_url, job.project, job.token),
        "repo_object_format": "sha1",
        "ref": pipeline.ref,
        "sha": pipeline.commit.sha,
        "before_sha": pipeline.before_sha,
        "ref_type": "tag" if pipeline.is_tag else "branch",
        "refspecs": _refspecs(job, is_deep=depth == 0),
        "depth": depth,
        "protected": pipeline.is_protected,
    }


def _depth(text: str) -> int:
    """How many commits the runner fetches; 0 means all."""
    return int(text) if text.isdecimal() else _DEFAULT_DEPTH


def _refspecs(job: Job, *, is_deep: bool) -> list[str]:
    """The pipeline's own ref always; the branch or tag only while it exists; or everything."""
    pipeline = job.pipeline
    own_ref = f"refs/pipelines/{pipeline.id}"
    refspecs = [f"+{own_ref}:{own_ref}"] if own_ref in job.project.refs else []
    if is_deep:
        everything = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"]
        return [*refspecs, *everything]
    kind = "tags" if pipeline.is_tag else "heads"
    ref = f"refs/{kind}/{pipeline.ref}"
    if ref in job.project.refs:
        target = ref if pipeline.is_tag else f"refs/remotes/origin/{pipeline.ref}"
        refspecs.append(f"+{ref}:{target}")
    return refspecs


def _steps(job: Job, timeout: int) -> list[Json]:
    steps = [_step("script", job.spec.script, timeout, when="on_success")]
    if job.spec.after_script:
        steps.append(_step("after_script", job.spec.after_script, timeout, when="always"))
    return steps


def _step(name: str, script: tuple[str, ...], timeout: int, *, when: str) -> Json:
    return {
        "name": name,
        "script": list(script),
        "timeout": timeout,
        "when": when,
        "allow_failure": name == "after_script",
    }


def _hooks(job: Job) -> list[Json]:
    script = list(job.spec.before_sources)
    return [{"name": "pre_get_sources_script", "script": script}] if script else []


def _image(image: ImageSpec | None) -> Json | None:
    if image is None:
        return None
    options = {name: dict(values) for name, values in image.executor_options.items()}
    return {
        "name": image.name,
        "alias": image.alias,
        "command": list(image.command) or None,
        "entrypoint": list(image.entrypoint) or None,
        "ports": [],
        "variables": [{"key": k, "value": v, "public": True} for k, v in image.variables.items()],
        "pull_policy": list(image.pull_policy),
        **({"executor_opts": options} if options else {}),
    }


def _artifacts(spec: ArtifactSpec) -> list[Json]:
    entries: list[Json] = []
    if spec.paths or spec.untracked:
        entries.append(
            {
                "name": spec.name,
                "untracked": spec.untracked,
                "paths": list(spec.paths),
                "exclude": list(spec.exclude),
                "when": spec.when,
                "artifact_type": "archive",
                "artifact_format": "zip",
                "expire_in": spec.expire_in,
            }
        )
    for kind, paths in spec.reports.items():
        form, name = REPORTS[kind]
        entries.append(
            {
                "name": name,
                "untracked": False,
                "paths": list(paths),
                "when": "always",
                "artifact_type": kind,
                "artifact_format": form,
                "expire_in": spec.expire_in,
            }
        )
    return entries


def _cache(job: Job, spec: CacheSpec) -> Json:
    protected = job.pipeline.is_protected and not spec.unprotect
    suffix = "protected" if protected else "non_protected"
    return {
        "key": f"{spec.key}-{suffix}",
        "untracked": spec.untracked,
        "policy": spec.policy,
        "paths": list(spec.paths),
        "when": spec.when,
        "fallback_keys": [f"{key}-{suffix}" for key in spec.fallback_keys],
    }


def _dependency(other: Job) -> Json:
    size = other.artifacts.stat().st_size if other.artifacts else 0
    return {
        "id": other.id,
        "token": other.token,
        "name": other.spec.name,
        "artifacts_file": {"filename": other.artifacts_name, "size": size},
    }
