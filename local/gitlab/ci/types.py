"""The result of reading a `.gitlab-ci.yml`: one pipeline and its jobs, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field


class CiError(ValueError):
    """GitLab would refuse the CI file; the message names file, line, key and reason."""


class CiMissingError(CiError):
    """The CI file uses an undefined name; an include that was not fetched may define it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    """A container image of a job, or of one of its services."""

    name: str
    alias: str | None = None
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    pull_policy: tuple[str, ...] = ()
    # Options of one executor: {"docker": {"user": "1000"}}
    executor_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactSpec:
    """Files that a job uploads to GitLab when it ends."""

    name: str | None = None
    paths: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    untracked: bool = False
    when: str = "on_success"  # on_success | on_failure | always
    expire_in: str | None = None  # as written, such as "1 week"
    reports: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSpec:
    """Files that later jobs restore by key."""

    key: str = "default"
    paths: tuple[str, ...] = ()
    untracked: bool = False
    policy: str = "pull-push"  # pull-push | pull | push
    when: str = "on_success"  # on_success | on_failure | always
    fallback_keys: tuple[str, ...] = ()
    unprotect: bool = False  # one cache for protected and other refs


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySpec:
    """How many new jobs GitLab makes after a failure, and after which failures."""

    max: int = 0
    when: tuple[str, ...] = ("always",)
    exit_codes: tuple[int, ...] = ()  # exit codes of the script that are retried, too


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSpec:
    """The environment that a job deploys to."""

    name: str  # expanded
    url: str | None = None  # not expanded: some of the job's variables are not known yet
    action: str = "start"  # start | prepare | stop | verify | access
    tier: str | None = None  # production | staging | testing | development | other
    on_stop: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedSpec:
    """One job that must end first; `job` is its expanded name when it has `parallel`."""

    job: str
    artifacts: bool = True
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """One job with defaults, rules and `parallel` applied."""

    name: str
    stage: str
    script: tuple[str, ...]  # before_script, then script
    after_script: tuple[str, ...] = ()
    before_sources: tuple[str, ...] = ()  # hooks:pre_get_sources_script
    tags: tuple[str, ...] = ()
    image: ImageSpec | None = None
    services: tuple[ImageSpec, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)  # global, job, matrix and rule
    raw_variables: frozenset[str] = frozenset()  # of `variables`, those with `expand: false`
    artifacts: tuple[ArtifactSpec, ...] = ()
    cache: tuple[CacheSpec, ...] = ()
    needs: tuple[NeedSpec, ...] | None = None  # None: stage order; (): none
    dependencies: tuple[str, ...] | None = None  # None: every earlier job
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
    """The jobs of one pipeline in file order, without those that rules exclude.

    Without jobs GitLab makes no pipeline: rules excluded all jobs, or only jobs in `.pre` and
    `.post` remain.
    """

    stages: tuple[str, ...]
    jobs: tuple[JobSpec, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None
    cancels_on_new_commit: str = "conservative"  # conservative | interruptible | none
    cancels_on_job_failure: str = "none"  # none | all
    warnings: tuple[str, ...] = ()  # keywords without effect here, with file and line
    is_left_out: bool = False  # GitLab would run jobs, and none of them can run here
