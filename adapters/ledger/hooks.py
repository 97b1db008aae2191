"""The ledger's rows of the webhooks that the fleet registered."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from boto3.dynamodb.conditions import Attr

from adapters.ledger.table import Change, Rows, Table, read_time
from fleet.times import HasUtcTimes
from fleet.webhook_secrets import scope_of_name


@dataclass(frozen=True, slots=True, kw_only=True)
class HookRow(HasUtcTimes):
    """A webhook that we registered, and what we know of its health."""

    instance: str
    scope: str  # "project:77" or "group:42"
    hook_id: int
    url: str
    verification: str  # signing-token | secret-token
    name: str = ""  # of its secrets, as `webhook_name` gives it
    secret_ids: tuple[str, ...] = ()  # of the secrets that are valid, newest first
    used_id: str | None = None  # of the secret that GitLab was seen to use last
    registered_at: datetime | None = None  # by `webhook register`, for the last time
    healthy: bool = True
    detail: str | None = None

    @property
    def outdated_below(self) -> str | None:
        """The secret in use where older ones are valid still; None where there are none."""
        used = self.used_id
        return used if used in self.secret_ids[:-1] else None


class HookRows(Rows):
    """Reads and writes of these rows. Every write may be repeated."""

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self._used: dict[str, str] = {}  # by webhook, the secret that was noted last

    def record_hook(self, hook: HookRow) -> None:
        """What `webhook register` made. Which secret GitLab uses is kept: events tell it."""
        told: dict[str, object] = {
            "kind": "hook",
            "changed_at": hook.scope,
            "instance": hook.instance,
            "scope": hook.scope,
            "hook_id": hook.hook_id,
            "url": hook.url,
            "verification": hook.verification,
            "name": hook.name,
            "secret_ids": list(hook.secret_ids),
            "healthy": hook.healthy,
        }
        optional = {
            "detail": hook.detail,
            "registered_at": hook.registered_at.isoformat() if hook.registered_at else None,
        }
        told |= {name: value for name, value in optional.items() if value}
        remove = tuple(name for name, value in optional.items() if not value)
        self._table.write(
            Change(pk=_hook(hook.instance, hook.scope), sk="hook", put=told, remove=remove)
        )

    def note_hook_health(self, hook: HookRow, *, detail: str | None) -> None:
        """What a look at the hook showed; nothing where it was registered again meanwhile."""
        told: dict[str, object] = {"healthy": detail is None} | (
            {"detail": detail} if detail else {}
        )
        self._note_hook(hook, told, remove=() if detail else ("detail",))

    def note_secrets(self, hook: HookRow, secret_ids: Iterable[str]) -> None:
        """Which secrets are left; nothing where the hook was registered again meanwhile."""
        self._note_hook(hook, {"secret_ids": list(secret_ids)})

    def note_used(self, instance: str, hook: str, secret_id: str) -> None:
        """A delivery of the hook was proven by this secret: GitLab has it."""
        if self._used.get(hook) == secret_id:
            return  # a hook delivers several times for each job
        other = Attr("used_id").not_exists() | Attr("used_id").ne(secret_id)
        when = Attr("name").eq(hook) & other
        pk = _hook(instance, scope_of_name(hook))
        self._table.write(Change(pk=pk, sk="hook", put={"used_id": secret_id}, when=when))
        self._used[hook] = secret_id

    def hooks(self, instance: str) -> tuple[HookRow, ...]:
        """Every webhook that we registered."""
        rows = [_hook_row(item) for item in self._table.query_index("recent", "kind", "hook")]
        return tuple(row for row in rows if row.instance == instance)

    def hook(self, instance: str, scope: str) -> HookRow | None:
        """The webhook of a scope, as it was registered last."""
        item = self._table.get(_hook(instance, scope), "hook")
        return _hook_row(item) if item else None

    def _note_hook(
        self, hook: HookRow, told: Mapping[str, object], *, remove: tuple[str, ...] = ()
    ) -> None:
        at = hook.registered_at
        same = Attr("registered_at")
        as_seen = same.eq(at.isoformat()) if at else same.not_exists()
        when = Attr("hook_id").eq(hook.hook_id) & as_seen
        pk = _hook(hook.instance, hook.scope)
        self._table.write(Change(pk=pk, sk="hook", put=told, remove=remove, when=when))


def _hook(instance: str, scope: str) -> str:
    return f"hook#{instance}#{scope}"


def _hook_row(item: Mapping[str, Any]) -> HookRow:
    return HookRow(
        instance=item["instance"],
        scope=item["scope"],
        hook_id=item["hook_id"],
        url=item["url"],
        verification=item["verification"],
        name=item.get("name", ""),
        secret_ids=tuple(item.get("secret_ids", ())),
        used_id=item.get("used_id"),
        registered_at=read_time(item.get("registered_at")),
        healthy=item["healthy"],
        detail=item.get("detail"),
    )
