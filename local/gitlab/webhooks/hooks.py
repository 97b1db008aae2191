"""Webhook records: which hooks get an event, and when GitLab disables a hook."""

from collections import deque
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from local.gitlab.model import Group, Project

EVENTS = (
    "push_events",
    "tag_push_events",
    "issues_events",
    "confidential_issues_events",
    "merge_requests_events",
    "note_events",
    "confidential_note_events",
    "job_events",
    "pipeline_events",
    "wiki_page_events",
    "deployment_events",
    "feature_flag_events",
    "releases_events",
    "milestone_events",
    "emoji_events",
    "resource_access_token_events",
    "resource_deploy_token_events",
)
GROUP_EVENTS = ("member_events", "subgroup_events", "project_events")
SECRET_HEADERS = frozenset({"X-Gitlab-Token", "webhook-signature"})
ON_BY_DEFAULT = frozenset({"push_events"})

_TEMPORARY_AFTER = 4  # failures in a row
_PERMANENT_AFTER = 40
_FIRST_PAUSE = timedelta(minutes=1)
_LONGEST_PAUSE = timedelta(days=1)
_HISTORY = timedelta(days=2)
_TRIES_A_MINUTE = 5
_MINUTE = timedelta(minutes=1)


def events_of(owner: Project | Group) -> tuple[str, ...]:
    """The events of a webhook of this owner."""
    return EVENTS + (GROUP_EVENTS if isinstance(owner, Group) else ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One attempt to call a hook, as `GET …/hooks/:id/events` lists it."""

    id: int
    trigger: str
    request_headers: Mapping[str, str]
    body: bytes
    status: int | None  # None: no answer
    answer: str
    took_s: float
    sent_at: datetime


@dataclass(slots=True, kw_only=True)
class Hook:
    """A webhook of a project or a group."""

    id: int
    owner: Project | Group
    url: str
    created_at: datetime
    name: str | None = None
    description: str | None = None
    events: dict[str, bool] = field(default_factory=dict)  # job_events, push_events, …
    token: str | None = None
    signing_token: str | None = None
    custom_headers: dict[str, str] = field(default_factory=dict)
    custom_webhook_template: str | None = None  # kept and shown, not rendered
    enable_ssl_verification: bool = True
    push_events_branch_filter: str | None = None
    failures: int = 0  # in a row
    disabled_until: datetime | None = None
    is_disabled: bool = False  # for good, until a test succeeds
    deliveries: deque[Delivery] = field(default_factory=lambda: deque(maxlen=500))

    def history(self, at: datetime) -> list[Delivery]:
        """The deliveries GitLab still shows: those of two days."""
        return [delivery for delivery in self.deliveries if at - delivery.sent_at <= _HISTORY]


class Hooks:
    """All webhooks of the instance."""

    def __init__(self) -> None:
        self._made = 0
        self._tried: dict[Hashable, deque[datetime]] = {}
        self.by_id: dict[int, Hook] = {}

    def add(self, owner: Project | Group, url: str, *, at: datetime) -> Hook:
        """A new hook with GitLab's defaults: only push events are on."""
        self._made += 1
        names = events_of(owner)
        hook = Hook(
            id=self._made,
            owner=owner,
            url=url,
            created_at=at,
            events={name: name in ON_BY_DEFAULT for name in names},
        )
        self.by_id[hook.id] = hook
        return hook

    def may_try(self, caller: Hashable, at: datetime) -> bool:
        """Whether `caller` may test or resend once more in this minute; if so, it counts."""
        tried = self._tried.setdefault(caller, deque(maxlen=_TRIES_A_MINUTE))
        if len(tried) == _TRIES_A_MINUTE and at - tried[0] < _MINUTE:
            return False
        tried.append(at)
        return True

    def of(self, owner: Project | Group) -> list[Hook]:
        """The hooks of exactly this project or group, by id."""
        return [hook for hook in self.by_id.values() if hook.owner is owner]

    def wanting(self, project: Project, event: str) -> Iterable[Hook]:
        """The hooks of the project and its groups that want `event`."""
        owners: tuple[Project | Group, ...] = (project, *project.group.lineage)
        for hook in self.by_id.values():
            if hook.events.get(event) and any(hook.owner is owner for owner in owners):
                yield hook


def is_executable(hook: Hook, at: datetime) -> bool:
    """Whether GitLab calls the hook at all."""
    return alert_status(hook, at) == "executable"


def alert_status(hook: Hook, at: datetime) -> str:
    """executable | temporarily_disabled | disabled."""
    if hook.is_disabled:
        return "disabled"
    if hook.disabled_until is not None and at < hook.disabled_until:
        return "temporarily_disabled"
    return "executable"


def note_failure(hook: Hook, at: datetime) -> None:
    """Count a failed call: the fourth in a row pauses the hook, the fortieth ends it."""
    hook.failures += 1
    if hook.failures >= _PERMANENT_AFTER:
        hook.is_disabled = True
    elif hook.failures >= _TEMPORARY_AFTER:
        pause = _FIRST_PAUSE * 2 ** (hook.failures - _TEMPORARY_AFTER)
        hook.disabled_until = at + min(pause, _LONGEST_PAUSE)


def note_success(hook: Hook) -> None:
    """Reset the failures; this enables a disabled hook, which only a test can call."""
    hook.failures = 0
    hook.disabled_until = None
    hook.is_disabled = False
