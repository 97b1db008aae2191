"""The message of the bus: one change of one job, as GitLab's webhook reports it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Any, cast
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AwareDatetime,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from fleet.errors import Refused
from fleet.field_names import fields_at_fault
from fleet.times import HasUtcTimes, in_utc

SOURCE = "runner-fleet.webhook"
DETAIL_TYPES: Mapping[str, str] = {
    "created": "job.created",
    "pending": "job.pending",
    "running": "job.running",
    "success": "job.finished",
    "failed": "job.finished",
    "canceled": "job.finished",
    "skipped": "job.finished",
}  # the statuses that GitLab sends hooks for, and the one of skipped jobs
# The headers of a delivery that the webhook function reads, in lower case.
DELIVERY_HEADERS = frozenset(
    {"content-type", "idempotency-key", "webhook-id", "webhook-timestamp", "webhook-signature"}
    | {"x-gitlab-event", "x-gitlab-instance", "x-gitlab-token"}
)
# The reason in the webhook function's answer where the bus takes no event.
NOT_PUBLISHED = "the fleet cannot take it now"
_DEFAULT_PORTS = {"http": 80, "https": 443}

Utc = Annotated[AwareDatetime, AfterValidator(in_utc)]


def _known(status: str) -> str:
    if status not in DETAIL_TYPES:
        raise ValueError("a status without a hook")
    return status


def _of_these_days(at: datetime) -> datetime:
    """The time. Raises `ValueError` for one with which the fleet cannot reckon."""
    if not 2000 <= at.year < 2100:
        raise ValueError("a time of another age")
    return at


Id = Annotated[int, Field(gt=0, lt=2**63)]
Status = Annotated[str, AfterValidator(_known)]
EventTime = Annotated[Utc, AfterValidator(_of_these_days)]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent(HasUtcTimes):
    """One delivery, read and verified. Orders by rank of status, never by arrival."""

    __pydantic_config__ = ConfigDict(allow_inf_nan=False)

    instance: str  # "gitlab.example.com", with the port where it is not the usual one
    project_id: Id
    project_path: str
    job_id: Id
    job_name: str
    stage: str
    pipeline_id: Id
    ref: str
    status: Status  # GitLab's own word
    delivery_id: str
    received_at: EventTime
    retries_count: Annotated[int, Field(ge=0, lt=2**31)] = 0
    runner_id: Id | None = None  # GitLab's; a pending job that has one is taken already
    runner_description: str | None = None
    created_at: EventTime | None = None
    started_at: EventTime | None = None
    finished_at: EventTime | None = None
    queued_s: float | None = None
    failure_reason: str | None = None  # only of a job that failed
    allow_failure: bool = False
    deploys: bool = False  # it starts or stops an environment
    hook: str | None = None  # the webhook that it was proven to be from
    hook_secret_id: str | None = None  # of the secret that proved it

    @property
    def detail_type(self) -> str:
        """`job.created`, `job.pending`, `job.running` or `job.finished`."""
        return DETAIL_TYPES[self.status]

    def to_detail(self) -> dict[str, Any]:
        """The `detail` of the bus event: JSON types only, times as ISO 8601 in UTC."""
        return cast("dict[str, Any]", _adapter().dump_python(self, mode="json"))

    @classmethod
    def from_detail(cls, detail: object) -> "JobEvent":
        """The event that `to_detail` wrote. `Refused` names the fields that do not fit."""
        try:
            return _adapter().validate_python(detail)
        except ValidationError as exc:
            raise Refused("not a job event of this bus", fields=fields_at_fault(exc)) from None


@cache
def _adapter() -> TypeAdapter[JobEvent]:
    return TypeAdapter(JobEvent)


def instance_of(url: str) -> str:
    """`host[:port]` of a GitLab URL: how jobs, hooks and configuration name an instance.

    Lower case, without credentials and without the scheme's usual port. Raises `ValueError`.
    """
    parts = urlsplit(url.strip())
    host = parts.hostname
    if parts.scheme not in _DEFAULT_PORTS or not host:
        raise ValueError("not an http or https URL")
    port = parts.port
    return host if port in (None, _DEFAULT_PORTS[parts.scheme]) else f"{host}:{port}"
