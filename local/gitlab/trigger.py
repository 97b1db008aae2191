"""Starts pipelines for pushes and API calls, from the CI file at the commit."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fleet.words import counted
from local.gitlab import environments
from local.gitlab.actions import cancel_redundant
from local.gitlab.ci.file import MAIN_FILE, read_pipeline
from local.gitlab.ci.types import CiError, JobSpec, PipelineSpec
from local.gitlab.model import NO_SHA, MergeRequest, Pipeline, PipelineRequest, Project, User
from local.gitlab.repository import (
    CommitChanges,
    CommitFiles,
    keep_ref,
    read_commit,
    read_merge_base,
    read_tag,
)
from local.gitlab.variables import (
    CiVariable,
    GitLabInstance,
    configured_variables,
    expand_in,
    pipeline_variables,
)
from local.gitlab.world import GitLabWorld

_SKIP = re.compile(r"\[(ci[ _-]skip|skip[ _-]ci)\]", re.IGNORECASE)
_SKIPPABLE = ("push", "merge_request_event")
# GitLab's `environment_name_regex`; dollars and braces remain of variables that are not set.
_ENVIRONMENT = re.compile(r"(?!/)[\w/${}. -]{1,255}(?<!/)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefChange:
    """A branch or tag before and after a push."""

    name: str  # refs/heads/main
    old: str
    new: str

    @property
    def short_name(self) -> str:
        """The branch or tag name, such as `main`."""
        return self.name.split("/", 2)[2]

    @property
    def is_tag(self) -> bool:
        """Whether it is a tag."""
        return self.name.startswith("refs/tags/")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineStart:
    """A push, an API call or a merge request that asks for a pipeline at a commit."""

    project: Project
    change: RefChange
    source: str  # push | api | merge_request_event
    user: User
    variables: Mapping[str, str] = field(default_factory=dict)
    file_variables: frozenset[str] = frozenset()
    merge_request: MergeRequest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _CiFile:
    """The CI file at the commit: its pipeline or its error."""

    request: PipelineRequest
    spec: PipelineSpec | None = None  # None without an error: there is no CI file
    error: str | None = None


def changed_refs(before: Mapping[str, str], after: Mapping[str, str]) -> list[RefChange]:
    """The branches and tags that are new or moved, without deleted ones."""
    return [
        RefChange(name=name, old=before.get(name, NO_SHA), new=sha)
        for name, sha in after.items()
        if name.startswith(("refs/heads/", "refs/tags/")) and before.get(name) != sha
    ]


async def start_pipeline(world: GitLabWorld, start: PipelineStart) -> Pipeline | None:
    """The new pipeline; None when the commit has no CI file or no job is selected.

    A CI file with an error makes a failed pipeline. `[skip ci]` in the message of a pushed commit
    makes a skipped one, and so does a file whose selected jobs cannot run here.
    """
    ci_file = await asyncio.to_thread(_read_ci_file, start, world.instance)
    request = ci_file.request
    if ci_file.error is not None:
        return world.ci.add_broken_pipeline(request, ci_file.error)
    if ci_file.spec is not None and ci_file.spec.is_left_out:
        return world.ci.add_skipped_pipeline(request, warnings=ci_file.spec.warnings)
    if ci_file.spec is None or not ci_file.spec.jobs:
        return None
    if start.source in _SKIPPABLE and _SKIP.search(request.commit.message):
        return world.ci.add_skipped_pipeline(request)
    name = f"refs/pipelines/{world.ci.next_pipeline_id}"
    keep_ref(start.project.repository, name, request.commit.sha)
    start.project.refs[name] = request.commit.sha
    pipeline = world.ci.add_pipeline(request, ci_file.spec)
    for job in pipeline.jobs.values():
        environments.enter(job)
    cancel_redundant(world.ci, pipeline)
    return pipeline


def _read_ci_file(start: PipelineStart, instance: GitLabInstance) -> _CiFile:
    """Reads the commit and its CI file. Runs git commands, so it needs a thread of its own."""
    project, sha = start.project, start.change.new
    merge_request = start.merge_request
    request = PipelineRequest(
        project=project,
        ref=merge_request.ref if merge_request else start.change.short_name,
        is_tag=start.change.is_tag,
        commit=read_commit(project.repository, sha),
        before_sha=NO_SHA if merge_request else start.change.old,
        source=start.source,
        user=start.user,
        variables=start.variables,
        file_variables=start.file_variables,
        tag_message=read_tag(project.repository, start.change.name) if start.change.is_tag else "",
        merge_request=merge_request,
        diff_base_sha=_diff_base(start) if merge_request else "",
    )
    files = CommitFiles(project.repository, sha)
    path = project.ci_config_path or MAIN_FILE
    text = files.get(path)
    if text is None:
        return _CiFile(request=request)
    known = {**pipeline_variables(request, instance), **configured_variables(request)}
    try:
        spec = read_pipeline(
            text,
            file=path,
            variables=known,
            files=files,
            paths=files.paths,
            changes=_changes(request, sha),
        )
        spec = replace(spec, jobs=tuple(_with_environment(job, known) for job in spec.jobs))
    except CiError as exc:
        return _CiFile(request=request, error=str(exc))
    return _CiFile(request=request, spec=spec)


def _diff_base(start: PipelineStart) -> str:
    assert start.merge_request is not None
    target = f"refs/heads/{start.merge_request.target_branch}"
    return read_merge_base(start.project.repository, start.change.new, target)


def _with_environment(job: JobSpec, known: Mapping[str, str]) -> JobSpec:
    """The job with its environment's name fully expanded. Raises `CiError` for a wrong name."""
    if job.environment is None:
        return job
    texts = {"CI_JOB_NAME": job.name, "CI_JOB_STAGE": job.stage, **job.variables, **known}
    variables = {key: CiVariable(value=value) for key, value in texts.items()}
    name = expand_in(job.environment.name, variables)
    if not _ENVIRONMENT.fullmatch(name):
        raise CiError(
            f"jobs:{job.name}:environment: the name {name!r} can contain only letters, digits, "
            "spaces, '-', '_', '/', '$', '{', '}' and '.', 255 at most, and no '/' at an end"
        )
    return replace(job, environment=replace(job.environment, name=name))


def _changes(request: PipelineRequest, sha: str) -> CommitChanges:
    """The changes since a merge request's target, or since the commit before the push.

    For a new branch, a tag and an API call the changes are not known, so every `changes` holds.
    Source: GitLab's `Ci::Pipeline#changed_paths`.
    """
    before: str | None = request.diff_base_sha or request.before_sha
    if before == NO_SHA or request.is_tag:
        before = None
    return CommitChanges(request.project.repository, sha, before=before)


def push_report(pipeline: Pipeline, base_url: str) -> list[str]:
    """The lines about a pipeline that the pusher's terminal shows."""
    url = f"  {base_url}/{pipeline.project.full_path}/-/pipelines/{pipeline.id}"
    if pipeline.yaml_errors:
        return ["", f"Pipeline {pipeline.id} cannot run:", f"  {pipeline.yaml_errors}", url]
    warnings = [f"  warning: {warning}" for warning in pipeline.warnings]
    summary = f"Pipeline {pipeline.id} for {pipeline.ref}: {counted(len(pipeline.jobs), 'job')}"
    return ["", summary, *warnings, url]
