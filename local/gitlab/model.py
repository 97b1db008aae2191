"""The records of a simulated GitLab: accounts, projects, pipelines, jobs, runners.

All records are in memory. Only the server's event loop changes them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from pathlib import Path

from local.gitlab.ci.types import JobSpec
from local.gitlab.states import Counted, Status, counts_as

NO_SHA = "0" * 40


def _matches(rule: str, name: str) -> bool:
    """Whether a name or wildcard matches a ref. Source: GitLab's `RefMatcher`."""
    pattern = ".*?".join(re.escape(part) for part in rule.split("*"))
    return re.fullmatch(pattern, name) is not None


class Role(IntEnum):
    """GitLab's access levels."""

    NONE = 0
    GUEST = 10
    REPORTER = 20
    DEVELOPER = 30
    MAINTAINER = 40
    OWNER = 50


@dataclass(slots=True, kw_only=True)
class User:
    """A user account."""

    id: int
    username: str
    name: str
    email: str
    is_admin: bool = False


@dataclass(slots=True, kw_only=True)
class AccessToken:
    """A personal access token."""

    id: int
    name: str
    token: str
    user: User
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretVariable:
    """A CI/CD variable of a project or a group, as its settings page has it."""

    key: str
    value: str
    is_file: bool = False
    is_protected: bool = False
    is_masked: bool = False
    is_hidden: bool = False
    is_raw: bool = False
    environment_scope: str = "*"
    description: str | None = None


@dataclass(slots=True, kw_only=True)
class Environment:
    """A place that jobs deploy to."""

    id: int
    name: str
    slug: str
    tier: str
    created_at: datetime
    external_url: str | None = None  # of the last job that deployed to it
    is_stopped: bool = False


@dataclass(slots=True, kw_only=True)
class MergeRequest:
    """A request to merge one branch of a project into another branch of it."""

    id: int  # on the instance
    iid: int  # in the project
    project: Project
    author: User
    title: str
    description: str
    source_branch: str
    target_branch: str
    created_at: datetime
    labels: tuple[str, ...] = ()
    is_squashed: bool = False
    state: str = "opened"  # opened | closed
    diffs: int = 1  # versions: one for each push to the source branch

    @property
    def ref(self) -> str:
        """The ref that holds its newest commit."""
        return f"refs/merge-requests/{self.iid}/head"

    @property
    def is_draft(self) -> bool:
        """Whether its title marks a draft."""
        return self.title.lower().startswith(("draft:", "[draft]", "(draft)"))


@dataclass(slots=True, kw_only=True)
class Group:
    """A group or subgroup of projects."""

    id: int
    path: str
    name: str
    parent: Group | None = None
    members: dict[int, Role] = field(default_factory=dict)  # by user id
    protected_branches: list[str] = field(default_factory=list)  # of every project below
    variables: list[SecretVariable] = field(default_factory=list)

    @property
    def full_path(self) -> str:
        """Paths of the whole ancestry, joined by slashes."""
        return f"{self.parent.full_path}/{self.path}" if self.parent else self.path

    @property
    def full_name(self) -> str:
        """Names of the whole ancestry, as people see them."""
        return f"{self.parent.full_name} / {self.name}" if self.parent else self.name

    @property
    def lineage(self) -> tuple[Group, ...]:
        """This group and its ancestors, nearest first."""
        return (self, *self.parent.lineage) if self.parent else (self,)

    def role_of(self, user: User) -> Role:
        """The highest role the user has here or in a group above."""
        own = (group.members.get(user.id, Role.NONE) for group in self.lineage)
        return max(own, default=Role.NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One commit, as far as pipelines and hooks show it."""

    sha: str
    message: str
    author_name: str
    author_email: str
    authored_at: datetime


@dataclass(slots=True, kw_only=True)
class Project:
    """A project and its bare repository on disk."""

    id: int
    path: str
    name: str
    group: Group
    repository: Path
    created_at: datetime
    build_timeout_s: int
    default_branch: str = "main"
    ci_config_path: str | None = None
    shared_runners_enabled: bool = True
    is_public: bool = False
    members: dict[int, Role] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)  # full ref name -> sha
    jobs: dict[int, Job] = field(default_factory=dict)  # in id order
    by_status: dict[Status, dict[int, Job]] = field(default_factory=dict)
    pipelines: dict[int, Pipeline] = field(default_factory=dict)
    variables: list[SecretVariable] = field(default_factory=list)
    environments: dict[str, Environment] = field(default_factory=dict)  # by name
    merge_requests: dict[int, MergeRequest] = field(default_factory=dict)  # by iid
    protects_default_branch: bool = True
    protected_branches: list[str] = field(default_factory=list)  # names and wildcards
    protected_tags: list[str] = field(default_factory=list)
    protects_merge_requests: bool = True  # those between two protected branches
    cancels_redundant: bool = True  # a newer commit's pipeline cancels the older ones
    limits_job_tokens: bool = True  # to its own jobs and those of the two lists
    job_token_projects: dict[int, Project] = field(default_factory=dict)
    job_token_groups: dict[int, Group] = field(default_factory=dict)

    @property
    def full_path(self) -> str:
        """`path_with_namespace`."""
        return f"{self.group.full_path}/{self.path}"

    @property
    def full_name(self) -> str:
        """`name_with_namespace`, which hooks call `project_name`."""
        return f"{self.group.full_name} / {self.name}"

    @property
    def own_protected_branches(self) -> tuple[str, ...]:
        """The names and wildcards of branches that the project itself protects."""
        default = (self.default_branch,) if self.protects_default_branch else ()
        return (*default, *self.protected_branches)

    def is_protected(self, branch: str) -> bool:
        """Whether the branch is protected, by the project or by a group above it."""
        above = (rule for group in self.group.lineage for rule in group.protected_branches)
        return any(_matches(rule, branch) for rule in (*self.own_protected_branches, *above))

    def is_protected_tag(self, tag: str) -> bool:
        """Whether the tag is protected."""
        return any(_matches(rule, tag) for rule in self.protected_tags)

    def role_of(self, user: User) -> Role:
        """The highest role the user has here or in a group above."""
        return max(self.members.get(user.id, Role.NONE), self.group.role_of(user))


@dataclass(slots=True, kw_only=True)
class PipelineRequest:
    """The commit, the source and the user of a new pipeline."""

    project: Project
    ref: str  # short name
    is_tag: bool
    commit: Commit
    before_sha: str
    source: str  # push | api | merge_request_event
    user: User
    variables: Mapping[str, str] = field(default_factory=dict)
    file_variables: frozenset[str] = frozenset()  # of `variables`, those that become files
    tag_message: str = ""
    merge_request: MergeRequest | None = None
    diff_base_sha: str = ""  # of the merge request: where its branches parted


@dataclass(slots=True, kw_only=True)
class Pipeline(PipelineRequest):
    """One pipeline and, by stage, how many jobs count as what."""

    id: int
    iid: int
    created_at: datetime
    is_protected: bool = False  # its ref, as it was when the pipeline was made
    stages: tuple[str, ...] = ()
    name: str | None = None
    yaml_errors: str | None = None
    warnings: tuple[str, ...] = ()  # settings of the CI file without effect here
    cancels_on_new_commit: str = "conservative"  # conservative | interruptible | none
    cancels_on_job_failure: str = "none"  # none | all
    status: Status = Status.CREATED
    started_at: datetime | None = None
    finished_at: datetime | None = None
    updated_at: datetime | None = None
    jobs: dict[int, Job] = field(default_factory=dict)
    latest: dict[str, Job] = field(default_factory=dict)  # by name, retried jobs left out
    created: dict[str, dict[int, Job]] = field(default_factory=dict)  # by stage, waiting for it
    woken: dict[str, None] = field(default_factory=dict)  # names whose needs must be checked
    dependents: dict[str, list[str]] = field(default_factory=dict)  # needed name -> job names
    tallies: dict[str, Counter[Counted]] = field(default_factory=dict)  # by stage

    def count(self, job: Job, by: int) -> None:
        """Add the job to its stage's tally, or remove it with `by=-1`."""
        tally = self.tallies.setdefault(job.spec.stage, Counter())
        tally[job.counted] += by
        if not tally[job.counted]:
            del tally[job.counted]


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedReport:
    """A report of a job, as the runner sent it."""

    path: Path
    name: str
    form: str  # gzip | raw | zip


@dataclass(slots=True, kw_only=True)
class Job:
    """One job, from created to finished. A retry is another job."""

    id: int
    pipeline: Pipeline
    spec: JobSpec
    token: str
    user: User
    created_at: datetime
    retries_count: int = 0
    status: Status = Status.CREATED
    allow_failure: bool = False
    is_retried: bool = False
    queued_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    scheduled_at: datetime | None = None
    heard_at: datetime | None = None  # last call of the runner
    erased_at: datetime | None = None
    runner: Runner | None = None
    system_id: str | None = None
    timeout_s: int | None = None  # set when a runner takes the job
    failure_reason: str | None = None
    exit_code: int | None = None
    trace: bytearray = field(default_factory=bytearray)
    artifacts: Path | None = None
    artifacts_name: str = "artifacts.zip"
    artifacts_expire_at: datetime | None = None
    reports: dict[str, UploadedReport] = field(default_factory=dict)  # by type
    dotenv: Mapping[str, str] = field(default_factory=dict)  # for the jobs after it

    @property
    def project(self) -> Project:
        """The project of the job's pipeline."""
        return self.pipeline.project

    @property
    def counted(self) -> Counted:
        """The status that the job adds to its stage and pipeline."""
        return counts_as(self.status, allow_failure=self.allow_failure)

    def drop_artifacts(self) -> None:
        """Delete the archive and the reports; dotenv variables stay."""
        for path in (self.artifacts, *(report.path for report in self.reports.values())):
            if path is not None:
                path.unlink(missing_ok=True)
        self.artifacts = None
        self.reports.clear()

    def duration_s(self, at: datetime) -> float | None:
        """Seconds from start to end (to `at` while running); None before the start."""
        if self.started_at is None:
            return None
        return ((self.finished_at or at) - self.started_at).total_seconds()

    def queued_s(self, at: datetime) -> float | None:
        """Seconds from pending to start (to `at` while waiting); None when never pending."""
        if self.queued_at is None:
            return None
        return ((self.started_at or self.finished_at or at) - self.queued_at).total_seconds()


@dataclass(slots=True, kw_only=True)
class RunnerManager:
    """One machine behind a runner's token, known by its `system_id`."""

    id: int
    system_id: str
    created_at: datetime
    contacted_at: datetime | None = None
    version: str | None = None
    revision: str | None = None
    platform: str | None = None
    architecture: str | None = None
    executor: str | None = None
    ip_address: str | None = None
    cancels_gracefully: bool = False  # feature `cancel_gracefully`: canceling runs after_script


@dataclass(slots=True, kw_only=True)
class Runner:
    """A runner record: a token, tags, a scope; any number of machines may use it.

    `Runners.add` gives it its id and its token.
    """

    id: int = 0
    token: str = ""
    runner_type: str  # instance_type | group_type | project_type
    created_at: datetime
    creator: User
    group: Group | None = None
    projects: dict[int, Project] = field(default_factory=dict)
    description: str = ""
    maintenance_note: str | None = None
    tags: frozenset[str] = frozenset()
    run_untagged: bool = True
    paused: bool = False
    locked: bool = False
    access_level: str = "not_protected"
    maximum_timeout_s: int | None = None
    token_expires_at: datetime | None = None
    contacted_at: datetime | None = None  # as GitLab shows it: up to 40 minutes old
    heard_at: datetime | None = None  # exact, for our own checks
    managers: dict[str, RunnerManager] = field(default_factory=dict)
    jobs: dict[int, Job] = field(default_factory=dict)
