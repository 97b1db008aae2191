"""A job as GitLab hands it out. The classes have the shape and the names of the answer's JSON."""

import json
from dataclasses import dataclass

from local.stand_in.decode import DecodeError, decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One variable of the job."""

    key: str = ""
    value: str = ""
    file: bool = False
    masked: bool = False
    raw: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Commands by name: the steps `script` and `after_script`, and the hooks."""

    name: str = ""
    script: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GitInfo:
    """Which sources to fetch."""

    repo_url: str = ""
    ref: str = ""
    sha: str = ""
    refspecs: tuple[str, ...] = ()
    depth: int = 0

    @property
    def clean_url(self) -> str:
        """The address without credentials."""
        scheme, slashes, rest = self.repo_url.partition("://")
        return scheme + slashes + rest.rpartition("@")[2] if slashes else self.repo_url


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """Files to upload."""

    name: str = ""
    paths: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    untracked: bool = False
    when: str = ""
    expire_in: str = ""
    artifact_type: str = ""
    artifact_format: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """Files to restore and save."""

    key: str = ""
    paths: tuple[str, ...] = ()
    untracked: bool = False
    policy: str = ""  # "" means pull-push
    when: str = ""
    fallback_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactsFile:
    """The archive of an earlier job; without a name there is none."""

    filename: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """An earlier job with artifacts to fetch."""

    id: int = 0
    token: str = ""
    name: str = ""
    artifacts_file: ArtifactsFile = ArtifactsFile()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobInfo:
    """Where the job belongs."""

    project_id: int = 0
    project_jobs_running_on_instance_runners_count: str = ""  # a number would lose the job


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerInfo:
    """What GitLab asks of the runner; `timeout` in seconds, 0 for the two hours that are usual."""

    timeout: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What this GitLab knows."""

    trace_sections: bool = False
    failure_reasons: tuple[str, ...] = ()
    token_mask_prefixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything one build needs."""

    id: int = 0
    token: str = ""
    allow_git_fetch: bool = False
    job_info: JobInfo = JobInfo()
    git_info: GitInfo = GitInfo()
    runner_info: RunnerInfo = RunnerInfo()
    variables: tuple[Variable, ...] = ()
    steps: tuple[Script, ...] = ()
    hooks: tuple[Script, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    cache: tuple[Cache, ...] = ()
    dependencies: tuple[Dependency, ...] = ()
    features: Features = Features()


def read_job(body: bytes) -> Job:
    """The job in an answer's body. Raises `DecodeError` where the real runner loses the job."""
    try:
        return decode(Job, json.loads(body), "job")
    except json.JSONDecodeError as exc:
        raise DecodeError(str(exc)) from exc


def is_wanted(files: Artifact | Cache, *, succeeded: bool) -> bool:
    """Whether there is something to save after such an end."""
    ends = ("", "on_success", "always") if succeeded else ("on_failure", "always")
    return files.when in ends and bool(files.paths or files.untracked)
