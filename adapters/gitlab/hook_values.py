"""A webhook as the fleet registers it, and as GitLab shows it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Json, ValidationError

from adapters.gitlab.values import Id
from fleet.errors import Transient
from fleet.field_names import fields_at_fault
from fleet.hook_scope import HookScope
from fleet.job_event import DELIVERY_HEADERS
from fleet.rules.hook_health import Delivered
from fleet.times import HasUtcTimes
from fleet.webhook_secrets import webhook_name

_EVENTS = (
    "push_events tag_push_events issues_events confidential_issues_events merge_requests_events "
    "note_events confidential_note_events pipeline_events wiki_page_events deployment_events "
    "feature_flag_events releases_events milestone_events emoji_events "
    "resource_access_token_events resource_deploy_token_events"
)  # a hook's other events; GitLab's default for push_events is true
_GROUP_EVENTS = "member_events subgroup_events project_events"

_STATUS = re.compile(r"[1-5][0-9]{2}")

Verification = Literal["signing-token", "secret-token"]


def hooks_path(scope: HookScope) -> str:
    """Of a scope's hooks in the API."""
    return f"/{scope.kind}s/{scope.id}/hooks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """Our hook as it is now."""

    hook_id: int
    name: str  # of its secrets, as `webhook_name` gives it
    url: str
    scope: HookScope
    verification: Verification
    secret_ids: tuple[str, ...]  # of the secrets that are valid, newest first
    changed: bool  # whether this registration changed anything in GitLab


@dataclass(frozen=True, slots=True, kw_only=True)
class HookHealth(HasUtcTimes):
    """Whether GitLab still calls a hook."""

    hook_id: int
    url: str
    alert_status: str  # executable, temporarily_disabled or disabled
    disabled_until: datetime | None = None
    is_customized: bool = False

    @property
    def is_executable(self) -> bool:
        """Whether deliveries are sent."""
        return self.alert_status == "executable"


@dataclass(frozen=True, slots=True, kw_only=True)
class HookTarget:
    """The hook to register: deliveries of `scope` to `url`."""

    scope: HookScope
    url: str

    @property
    def name(self) -> str:
        """Of the webhook, where its secrets are kept."""
        return webhook_name(self.scope, self.url)

    @property
    def path(self) -> str:
        """Of the scope's hooks in the API."""
        return hooks_path(self.scope)

    @property
    def is_https(self) -> bool:
        """Whether GitLab can check the certificate."""
        return not self.url.lower().startswith("http://")

    def body(self) -> dict[str, Any]:
        """The hook's attributes in the API, without its secret: job events and nothing else."""
        names = f"{_EVENTS} {_GROUP_EVENTS}" if self.scope.kind == "group" else _EVENTS
        return {
            "url": self.url,
            **dict.fromkeys(names.split(), False),
            "job_events": True,
            "custom_webhook_template": "",  # else its author decides what GitLab signs
            "enable_ssl_verification": self.is_https,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleReceipt:
    """Our webhook's answer to a delivery. `event`: what it put on the bus; None: nothing."""

    id: int
    event: str | None


class HookHeader(BaseModel):
    """A header that the webhook's author adds; GitLab never shows its value."""

    model_config = ConfigDict(frozen=True)

    key: str


class GitLabHook(BaseModel):
    """GitLab's answer. It never holds a secret, only whether there is one."""

    model_config = ConfigDict(frozen=True, extra="allow")

    id: Id
    url: str
    job_events: bool = False
    enable_ssl_verification: bool = True
    token_present: bool = False
    signing_token_present: bool = False  # GitLab 19.0 and newer
    alert_status: str = "executable"
    disabled_until: AwareDatetime | None = None
    custom_webhook_template: str | None = None
    custom_headers: tuple[HookHeader, ...] = ()

    @property
    def is_customized(self) -> bool:
        """Whether GitLab sends what its author wrote in place of what the fleet reads."""
        names = {header.key.lower() for header in self.custom_headers}
        return bool(self.custom_webhook_template) or not names.isdisjoint(DELIVERY_HEADERS)

    @property
    def hears_other_events(self) -> bool:
        """Whether GitLab sends it other events, which the fleet ignores."""
        return any(
            value is True
            for name, value in (self.model_extra or {}).items()
            if name.endswith("_events")
        )

    @classmethod
    def read(cls, body: object) -> "GitLabHook":
        """GitLab's answer as a value."""
        try:
            return cls.model_validate(body)
        except ValidationError as exc:
            fields = fields_at_fault(exc)
            raise Transient("GitLab's hook is not as we know it", fields=fields) from None

    @property
    def health(self) -> HookHealth:
        """Whether GitLab calls it."""
        return HookHealth(
            hook_id=self.id,
            url=self.url,
            alert_status=self.alert_status,
            disabled_until=self.disabled_until,
            is_customized=self.is_customized,
        )

    def is_for(self, target: HookTarget) -> bool:
        """Whether it posts to the target's address."""
        return self.url.rstrip("/") == target.url.rstrip("/")

    def fits(self, target: HookTarget, verification: Verification) -> bool:
        """Whether it is just as the target asks, and has a secret of this kind."""
        has_secret = (
            self.signing_token_present if verification == "signing-token" else self.token_present
        )
        return (
            has_secret
            and self.job_events
            and not self.hears_other_events
            and not self.is_customized
            and self.enable_ssl_verification == target.is_https
        )


class _ListedDelivery(BaseModel):
    model_config = ConfigDict(frozen=True)

    response_status: str | int | None = None  # "202", or "internal error" without a response
    created_at: AwareDatetime


def deliveries_in(listed: Iterable[object]) -> tuple[Delivered, ...]:
    """GitLab's list of a hook's deliveries; unreadable entries are left out."""
    deliveries = []
    for entry in listed:
        try:
            event = _ListedDelivery.model_validate(entry)
        except ValidationError:
            continue
        status = str(event.response_status)
        deliveries.append(
            Delivered(
                status=int(status) if _STATUS.fullmatch(status) else None, at=event.created_at
            )
        )
    return tuple(deliveries)


class _OurAnswer(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    accepted: bool
    reason: str


class _ListedSample(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: Id
    response_body: Json[_OurAnswer]


def receipts_in(listed: Iterable[object]) -> tuple[SampleReceipt, ...]:
    """Our answers in GitLab's list of a hook's deliveries; entries without one are left out."""
    receipts = []
    for entry in listed:
        try:
            delivery = _ListedSample.model_validate(entry)
        except ValidationError:
            continue
        answer = delivery.response_body
        receipts.append(
            SampleReceipt(id=delivery.id, event=answer.reason if answer.accepted else None)
        )
    return tuple(receipts)
