"""The body of GitLab's `Job Hook`: the fields that the fleet relies on, and their types."""

import re
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from fleet.errors import BadDelivery
from fleet.field_names import fields_at_fault
from fleet.job_event import EventTime


def _as_time(value: object) -> object:
    """Both forms that GitLab writes: `2026-08-20 09:15:01 UTC` and ISO 8601."""
    if not isinstance(value, str):
        return value
    try:
        return datetime.fromisoformat(
            re.sub(r" (?=[+-]\d\d(:?\d\d)?$)", "", value.replace(" UTC", "Z"))
        )
    except ValueError:
        raise ValueError("not a time that GitLab writes") from None


Text = Annotated[str, Field(max_length=2048)]
Id = Annotated[int, Field(gt=0, lt=2**63)]
Time = Annotated[EventTime | None, BeforeValidator(_as_time)]


class _HookPart(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


class RunnerPart(_HookPart):
    """The job's runner."""

    id: Id
    description: Text | None = None


class ProjectPart(_HookPart):
    """The job's project."""

    path: Text = Field(alias="path_with_namespace", min_length=1)


class Repository(_HookPart):
    """Where the project is, on the web and for Git."""

    homepage: Text = ""
    git_http_url: Text = ""


class EnvironmentPart(_HookPart):
    """The job's environment, and its action there; None: it starts it."""

    action: Text | None = None


# The actions that change what runs there. Source: GitLab docs, `environment:action`.
DEPLOYS = frozenset({None, "start", "stop"})


class JobHook(_HookPart):
    """The part of a `Job Hook` body that the fleet relies on. GitLab calls a job a build here.

    `commit.id` is the pipeline's id, `project_name` no path and `tag` no runner tag: not read.
    """

    kind: Text = Field(alias="object_kind", pattern="^build$")
    job_id: Id = Field(alias="build_id")
    name: Text = Field(alias="build_name")
    stage: Text = Field(alias="build_stage")
    status: Text = Field(alias="build_status")
    created_at: Time = Field(alias="build_created_at", default=None)
    started_at: Time = Field(alias="build_started_at", default=None)
    finished_at: Time = Field(alias="build_finished_at", default=None)
    queued_s: float | None = Field(alias="build_queued_duration", default=None)
    allow_failure: bool | None = Field(alias="build_allow_failure", default=None)
    failure_reason: Text | None = Field(alias="build_failure_reason", default=None)
    retries_count: int | None = Field(default=None, ge=0, lt=2**31)  # not on older GitLab
    ref: Text
    pipeline_id: Id
    project_id: Id
    runner: RunnerPart | None = None
    project: ProjectPart | None = None  # 17.x and newer
    repository: Repository | None = None
    environment: EnvironmentPart | None = None

    @property
    def deploys(self) -> bool:
        """Whether the job starts or stops an environment."""
        return self.environment is not None and self.environment.action in DEPLOYS

    @classmethod
    def read(cls, body: bytes) -> "JobHook":
        """The body as a value. Raises `BadDelivery` that names the first field at fault."""
        try:
            return cls.model_validate_json(body)
        except ValidationError as exc:
            field = fields_at_fault(exc)[0]
            raise BadDelivery("the job event is not readable", field=field) from None
