"""The parts of GitLab's answers that the fleet reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AliasChoices, AliasPath, BeforeValidator, Field, StrictBool
from pydantic.types import Strict

from fleet.job_event import Utc

Id = Annotated[int, Strict(), Field(gt=0)]  # no "7", no 7.0, no true: GitLab's ids are numbers
Word = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class GitLabJob:
    """One job, its tags included. `status` is GitLab's own word."""

    id: Id
    project_id: Annotated[
        Id,
        Field(
            validation_alias=AliasChoices(
                "project_id", AliasPath("project", "id"), AliasPath("pipeline", "project_id")
            )
        ),
    ]
    name: str
    status: Word
    tags: Annotated[tuple[str, ...], Field(validation_alias="tag_list")] = ()
    stage: str = ""
    runner_id: Annotated[Id | None, Field(validation_alias=AliasPath("runner", "id"))] = None
    runner_description: Annotated[
        str | None, Field(validation_alias=AliasPath("runner", "description"))
    ] = None
    pipeline_id: Annotated[Id | None, Field(validation_alias=AliasPath("pipeline", "id"))] = None
    ref: str | None = None
    is_tag: Annotated[bool, Field(validation_alias="tag")] = False  # of Git
    created_at: Utc | None = None
    started_at: Utc | None = None
    finished_at: Utc | None = None
    erased_at: Utc | None = None  # its log and its artifacts
    failure_reason: str | None = None
    queued_duration_s: Annotated[float | None, Field(validation_alias="queued_duration")] = None
    web_url: str = ""

    def project_path(self, gitlab_url: str) -> str:
        """Its project's path by GitLab's own word; empty where GitLab does not say."""
        root = urlsplit(gitlab_url).path.strip("/")  # GitLab may live under a path of its host
        path, jobs, _ = urlsplit(self.web_url).path.strip("/").partition("/-/jobs/")
        return path.removeprefix(f"{root}/") if jobs else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedRunner:
    """A new runner record. GitLab shows its token this once."""

    id: Id
    token: Word = field(repr=False)
    token_expires_at: Utc | None = None  # where the administrator has tokens expire


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedRunner:
    """GitLab's answer to a runner's verification."""

    id: Id
    token_expires_at: Utc | None = None


def _ids(owners: object) -> object:
    if not isinstance(owners, list):
        return owners
    return [owner.get("id") if isinstance(owner, Mapping) else owner for owner in owners]


OwnerIds = Annotated[tuple[Id, ...], BeforeValidator(_ids)]


@dataclass(frozen=True, slots=True, kw_only=True)
class GitLabRunner:
    """A runner record. `status` is online, offline, stale or never_contacted, and lags an hour.

    Only a single record has the fields from `tags` on; lists leave them out.
    """

    id: Id
    description: str = ""
    status: str = ""
    paused: StrictBool = False
    runner_type: str = ""
    tags: Annotated[tuple[str, ...], Field(validation_alias="tag_list")] = ()
    run_untagged: StrictBool = False
    access_level: str | None = None
    maximum_timeout_s: Annotated[int | None, Field(validation_alias="maximum_timeout")] = None
    group_ids: Annotated[OwnerIds, Field(validation_alias="groups")] = ()
    project_ids: Annotated[OwnerIds, Field(validation_alias="projects")] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GitLabToken:
    """An access token's facts, without its text."""

    scopes: frozenset[str]
    active: StrictBool = True
    expires_at: date | None = None  # its last day is the one before


@dataclass(frozen=True, slots=True, kw_only=True)
class GitLabId:
    """An object of which only the id matters."""

    id: Id


@dataclass(frozen=True, slots=True, kw_only=True)
class GitLabGroup:
    """A group, and the group that it is in."""

    id: Id
    parent_id: Id | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GitLabUser:
    """The token's user."""

    id: Id
    username: str = ""
    is_admin: StrictBool = False  # GitLab tells administrators only


@dataclass(frozen=True, slots=True, kw_only=True)
class GitLabVersion:
    """GitLab's own version."""

    version: Word


def _levels(permissions: object) -> object:
    if not isinstance(permissions, Mapping):
        return permissions
    granted = [entry for entry in permissions.values() if entry is not None]
    return [entry.get("access_level") if isinstance(entry, Mapping) else entry for entry in granted]


@dataclass(frozen=True, slots=True, kw_only=True)
class GitLabRights:
    """The rights of the token's user in a project: its own and its group's."""

    id: Id
    levels: Annotated[
        tuple[Annotated[int, Strict()], ...] | None,
        BeforeValidator(_levels),
        Field(validation_alias="permissions"),
    ] = None

    @property
    def role(self) -> int:
        """The highest of them; 0 for none."""
        return max(self.levels or (), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class GitLabProject:
    """One project."""

    id: Id
    path: Annotated[
        str, Field(validation_alias=AliasChoices("path_with_namespace", "full_path", "path"))
    ]
    web_url: str = ""
    default_branch: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GitLabRef:
    """A branch or a tag. Old versions of GitLab do not show the protection of a tag."""

    name: str
    protected: StrictBool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GitLabMergeRequest:
    """A merge request. Its source project may be deleted."""

    iid: Id  # in its target project
    source_branch: str
    target_branch: str
    source_project_id: Id | None
    target_project_id: Id


@dataclass(frozen=True, slots=True, kw_only=True)
class GitLabMergeRules:
    """A project's setting for merge requests: whether their pipelines may count as protected."""

    id: Id
    protects: Annotated[
        StrictBool | None, Field(validation_alias="protect_merge_request_pipelines")
    ] = None  # absent before GitLab 18.10, and without the right to change it


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRunner:
    """A runner record to be made."""

    kind: str  # instance_type, group_type or project_type
    description: str
    tags: tuple[str, ...]
    owner_id: int | None = None  # of the group or the project
    run_untagged: bool = False  # GitLab's own default is true
    maximum_timeout_s: int | None = None
    locked: bool = False
    paused: bool = False
    protected_only: bool = False  # jobs of protected branches and tags, nothing else

    def settings(self) -> dict[str, Any]:
        """The settings that can change later, in GitLab's words."""
        settings: dict[str, Any] = {
            "description": self.description,
            "tag_list": list(self.tags),
            "run_untagged": self.run_untagged,
            "locked": self.locked,
            "paused": self.paused,
            "access_level": "ref_protected" if self.protected_only else "not_protected",
        }
        if self.maximum_timeout_s is not None:
            settings["maximum_timeout"] = self.maximum_timeout_s
        return settings
