"""The ledger's rows of the webhooks that the fleet registered."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from boto3.dynamodb.conditions import Attr

from adapters.ledger.rows import Form, RowType
from adapters.ledger.table import Change, Rows, Table
from fleet.hook_scope import HookScope
from fleet.times import HasUtcTimes
from fleet.webhook_secrets import scope_of_name

# A hook delivers several times for each job; this often a process writes that it does.
HEARD_EVERY = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class HookRow(HasUtcTimes):
    """A webhook that the fleet registered, and its health."""

    instance: str
    scope: HookScope
    hook_id: int
    url: str
    verification: str  # signing-token | secret-token
    name: str = ""  # of its secrets, as `webhook_name` gives it
    secret_ids: tuple[str, ...] = ()  # of the valid secrets, newest first
    used_id: str | None = None  # of the secret that proved the last delivery
    heard_at: datetime | None = None  # by the last delivery, to `HEARD_EVERY`
    registered_at: datetime | None = None  # by the last `webhook register`
    healthy: bool = True
    detail: str | None = None

    @property
    def outdated_below(self) -> str | None:
        """The secret in use when older ones are still valid, else None."""
        used = self.used_id
        return used if used in self.secret_ids[:-1] else None


HOOK_ROW = RowType(of=HookRow, forms={"scope": Form(read=HookScope.read, write=str)})


class HookRows(Rows):
    """Reads and writes of these rows. Every write may be repeated."""

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self._noted: dict[str, tuple[str, datetime]] = {}  # by webhook: its secret, and when

    def record_hook(self, hook: HookRow) -> None:
        """Record a registration. `used_id` and `heard_at` stay: only deliveries show them."""
        pk = _hook(hook.instance, hook.scope)
        index = {"kind": "hook", "changed_at": str(hook.scope)}
        self._table.write(
            HOOK_ROW.replacing(pk, "hook", hook, without={"used_id", "heard_at"}, **index)
        )

    def note_hook_health(self, hook: HookRow, *, detail: str | None) -> None:
        """Record the health of a hook, unless it was registered again meanwhile."""
        put = {"healthy": detail is None} | ({"detail": detail} if detail else {})
        self._note_hook(hook, put, remove=() if detail else ("detail",))

    def note_secrets(self, hook: HookRow, secret_ids: Iterable[str]) -> None:
        """Record the valid secrets, unless the hook was registered again meanwhile."""
        self._note_hook(hook, {"secret_ids": list(secret_ids)})

    def note_delivery(self, instance: str, hook: str, secret_id: str, *, at: datetime) -> None:
        """Record that this secret proved a delivery of the hook now: GitLab has it."""
        secret, noted_at = self._noted.get(hook, ("", at))
        if secret == secret_id and at - noted_at < HEARD_EVERY:
            return
        scope = scope_of_name(hook)
        if scope is None:
            return
        put = {"used_id": secret_id, "heard_at": at}
        pk, ours = _hook(instance, scope), Attr("name").eq(hook)
        self._table.write(Change(pk=pk, sk="hook", put=put, when=ours))
        self._noted[hook] = (secret_id, at)

    def forget_hook(self, instance: str, scope: HookScope) -> None:
        """Delete the row: reconcile no longer watches the hook."""
        self._table.write(Change(pk=_hook(instance, scope), sk="hook", delete=True))

    def hooks(self, instance: str) -> tuple[HookRow, ...]:
        """Every webhook that the fleet registered."""
        rows = self._readable(HOOK_ROW.read, self._table.query_index("kinds", "kind", "hook"))
        return tuple(row for row in rows if row.instance == instance)

    def hook(self, instance: str, scope: HookScope) -> HookRow | None:
        """The webhook of a scope; None when none is registered."""
        item = self._table.get(_hook(instance, scope), "hook")
        return HOOK_ROW.read(item) if item else None

    def _note_hook(
        self, hook: HookRow, put: Mapping[str, object], *, remove: tuple[str, ...] = ()
    ) -> None:
        registered = Attr("registered_at")
        at = hook.registered_at
        same = registered.eq(at) if at else registered.not_exists()
        when = Attr("hook_id").eq(hook.hook_id) & same
        pk = _hook(hook.instance, hook.scope)
        self._table.write(Change(pk=pk, sk="hook", put=put, remove=remove, when=when))


def _hook(instance: str, scope: HookScope) -> str:
    return f"hook#{instance}#{scope}"
