"""What a `.gitlab-ci.yml` says once it is read: a pipeline of jobs, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


class CiError(ValueError):
    """The CI file cannot be used; the message names the line, the place and the reason."""


class CiMissingError(CiError):
    """The CI file names something that is nowhere; an include that was not fetched may have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    """A container image of a job, or of one of its services."""

    name: str
    alias: str | None = None
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    pull_policy: tuple[str, ...] = ()
    # What an executor alone understands: {"docker": {"user": "1000"}}
    executor_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactSpec:
    """Files a job hands to GitLab when it ends."""

    name: str | None = None
    paths: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    untracked: bool = False
    when: str = "on_success"  # on_success | on_failure | always
    expire_in: str | None = None  # GitLab's own words, such as "1 week"
    reports: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSpec:
    """Files kept from one job to the next under a key."""

    key: str = "default"
    paths: tuple[str, ...] = ()
    untracked: bool = False
    policy: str = "pull-push"  # pull-push | pull | push
    when: str = "on_success"  # on_success | on_failure | always
    fallback_keys: tuple[str, ...] = ()
    unprotect: bool = False  # one cache for protected and other refs


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySpec:
    """How often GitLab makes a new job after a failure, and after which failures."""

    max: int = 0
    when: tuple[str, ...] = ("always",)
    exit_codes: tuple[int, ...] = ()  # a script's failure with one of these is caught, too


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSpec:
    """Where a job deploys to."""

    name: str  # variables put in
    url: str | None = None  # as written: the job's own variables are not known yet
    action: str = "start"  # start | prepare | stop | verify | access
    tier: str | None = None  # production | staging | testing | development | other
    on_stop: str | None = None
    auto_stop_in: str | None = None  # GitLab's own words, such as "1 week"


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedSpec:
    """One job that must end before the job that names it; after `parallel` the expanded name."""

    job: str
    artifacts: bool = True
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """One job, everything inherited and expanded, nothing left to look up."""

    name: str
    stage: str
    script: tuple[str, ...]  # before_script and script joined, as GitLab sends them
    after_script: tuple[str, ...] = ()
    before_sources: tuple[str, ...] = ()  # hooks:pre_get_sources_script
    tags: tuple[str, ...] = ()
    image: ImageSpec | None = None
    services: tuple[ImageSpec, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)  # global, job, matrix and rule
    raw_variables: frozenset[str] = frozenset()  # of `variables`, those with `expand: false`
    artifacts: tuple[ArtifactSpec, ...] = ()
    cache: tuple[CacheSpec, ...] = ()
    needs: tuple[NeedSpec, ...] | None = None  # None: by stage order; (): start at once
    dependencies: tuple[str, ...] | None = None  # None: all jobs that ran before it
    when: str = "on_success"  # on_success | on_failure | always | manual | delayed
    start_in_s: int | None = None  # with `delayed` only
    allow_failure: bool = False
    allow_failure_exit_codes: tuple[int, ...] = ()
    retry: RetrySpec = RetrySpec()
    timeout_s: int | None = None
    resource_group: str | None = None
    interruptible: bool = False
    environment: EnvironmentSpec | None = None
    id_in_parallel: tuple[int, int] | None = None  # index from 1, total


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSpec:
    """The jobs of one pipeline in file order; jobs that rules leave out are not in it.

    No jobs at all means that GitLab would make no pipeline: the rules filtered everything out,
    or only `.pre` and `.post` jobs were left.
    """

    stages: tuple[str, ...]
    jobs: tuple[JobSpec, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None
    cancels_on_new_commit: str = "conservative"  # conservative | interruptible | none
    cancels_on_job_failure: str = "none"  # none | all
    warnings: tuple[str, ...] = ()  # what the file says and nothing here does, with file and line
    is_left_out: bool = False  # there may be jobs, yet none that can run here
