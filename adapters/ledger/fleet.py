"""The ledger's rows about the fleet itself: configuration, pools, and the projects it watches."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

from boto3.dynamodb.conditions import Attr, ConditionBase

from adapters.ledger.table import Change, Item, Table, absent
from fleet.rules.capacity import BackOff, note_applied
from fleet.rules.holds import Hold, HoldKind
from fleet.rules.reconcile import Watched
from fleet.times import HasUtcTimes
from fleet.trouble import Trouble
from fleet.webhook_secrets import scope_of_name

HEARD_EVERY = timedelta(minutes=1)
STRAY_KEPT = timedelta(days=1)
# A pipeline's jobs come to be pending within seconds of each other, one webhook each.
PIPELINE_EVERY = timedelta(seconds=10)
LISTING_KEPT = timedelta(hours=1)
# The longest that an execution of the route machine takes, which may still owe a wake.
WAKE_OWED = timedelta(minutes=4)
HOLD_KEPT = timedelta(days=1)
TROUBLE = "gitlab-trouble"  # the partition of these rows
# Longer than the function lives that renews a token.
RENEWAL_TAKES = timedelta(minutes=2)
FORMER = "record_"  # and its number: the attribute of a record that the pool had
TOKEN_LIFE = "gitlab-token"  # noqa: S105
LEASE_KEPT = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredConfig(HasUtcTimes):
    """The fleet.toml that was applied last."""

    text: str
    version: str
    applied_at: datetime  # when `apply` ran last, also with the same text
    tls_ca: str | None = None  # PEM of the file that it names
    leaving: tuple[str, ...] = ()  # pools not in it any more whose runners still live
    removed: Mapping[str, datetime] = field(default_factory=dict)  # pools taken away lately: when


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRow(HasUtcTimes):
    """What the ledger knows of a pool besides its runners."""

    name: str
    in_use: int = 0  # live runners, the same number as there are rows of them
    version: int = 0  # one more with every reservation
    back_off: Mapping[str, BackOff] | None = None
    refused: str | None = None  # AWS's words about the configuration of this version
    refused_version: str | None = None  # of fleet.toml
    reason: str | None = None  # of the last decision
    wants_room: bool = False  # it left jobs waiting because the pool was full
    verified_at: datetime | None = None  # presence in GitLab
    token_made_at: datetime | None = None  # of the pool's own runner record
    token_expires_at: datetime | None = None  # None: never
    renewal_failed_at: datetime | None = None  # since when its token cannot be renewed
    renewal_failed: str | None = None  # and why
    former: Mapping[int, datetime] = field(default_factory=dict)  # records replaced, and when


class Reading(StrEnum):
    """Who reads the pending jobs of a pipeline just now."""

    MINE = "mine"
    UNDER_WAY = "under_way"  # somebody else
    DONE = "done"  # somebody did


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


class FleetRows:
    """Reads and writes of these rows. Every write may be repeated."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._heard: dict[tuple[str, int], datetime] = {}
        self._used: dict[str, str] = {}  # by webhook, the secret that was noted last

    def config(self) -> StoredConfig | None:
        """What `apply` stored; None before the first time."""
        item = self._table.get("config", "current")
        if item is None:
            return None
        applied_at = datetime.fromisoformat(item["applied_at"])
        return StoredConfig(
            text=item["toml"],
            version=item["version"],
            applied_at=applied_at,
            tls_ca=item.get("tls_ca"),
            leaving=tuple(item.get("leaving", ())),
            removed={
                pool: datetime.fromisoformat(at) for pool, at in item.get("removed", {}).items()
            },
        )

    def store_config(self, config: StoredConfig) -> None:
        """Make this the configuration in force."""
        told = {
            "toml": config.text,
            "version": config.version,
            "applied_at": config.applied_at.isoformat(),
            "leaving": list(config.leaving),
            "removed": {pool: at.isoformat() for pool, at in config.removed.items()},
        }
        if config.tls_ca:
            told["tls_ca"] = config.tls_ca
        remove = () if config.tls_ca else ("tls_ca",)
        self._table.write(Change(pk="config", sk="current", put=told, remove=remove))

    def pool(self, name: str) -> PoolRow:
        """A pool's row; an empty one before its first launch."""
        item = self._table.get(f"pool#{name}", "pool") or {}
        held = item.get("back_off", {})
        verified = item.get("verified_at")
        return PoolRow(
            name=name,
            in_use=item.get("in_use", 0),
            version=item.get("version", 0),
            back_off={key: BackOff.from_item(one) for key, one in held.items()},
            refused=item.get("refused"),
            refused_version=item.get("refused_version"),
            reason=item.get("reason"),
            wants_room=bool(item.get("wants_room")),
            verified_at=datetime.fromisoformat(verified) if verified else None,
            token_made_at=_time(item.get("token_made_at")),
            token_expires_at=_time(item.get("token_expires_at")),
            renewal_failed_at=_time(item.get("renewal_failed_at")),
            renewal_failed=item.get("renewal_failed"),
            former={
                int(name.removeprefix(FORMER)): datetime.fromisoformat(at)
                for name, at in item.items()
                if name.startswith(FORMER)
            },
        )

    def note_back_off(self, name: str, back_off: Mapping[str, BackOff]) -> None:
        """Remember which capacity pools not to ask until when."""
        told = {key: one.to_item() for key, one in back_off.items()}
        self._note(name, {"back_off": told})

    def note_refused(self, name: str, words: str, config_version: str) -> None:
        """Remember that AWS refuses the pool's configuration, until it takes it again."""
        self._note(name, {"refused": words, "refused_version": config_version})

    def note_accepted(self, name: str) -> None:
        """AWS takes the pool's configuration again: somebody put right what it refused."""
        remove = ("refused", "refused_version")
        self._table.write(Change(pk=f"pool#{name}", sk="pool", remove=remove))

    def forgive(self, name: str) -> None:
        """Have AWS asked at once although it refused the pool's configuration: it was applied."""
        row = self.pool(name)
        held = dict(row.back_off or {})
        kept = note_applied(held)
        if row.refused is None and kept == held:
            return
        told = {"back_off": {key: one.to_item() for key, one in kept.items()}}
        remove = ("refused", "refused_version")
        self._table.write(Change(pk=f"pool#{name}", sk="pool", put=told, remove=remove))

    def note_decision(self, name: str, reason: str, *, wants_room: bool = False) -> None:
        """Remember the reason of the last decision, and whether a runner's end is waited for."""
        self._note(name, {"reason": reason, "wants_room": wants_room})

    def note_verified(self, name: str, at: datetime, *, expires_at: datetime | None = None) -> None:
        """Remember that GitLab heard from the pool's own runner record, and its token's end."""
        put = {"verified_at": at.isoformat()}
        put |= {"token_expires_at": expires_at.isoformat()} if expires_at else {}
        once = {"token_made_at": at.isoformat()} if expires_at else {}
        remove = () if expires_at else ("token_expires_at", "token_made_at")
        self._table.write(Change(pk=f"pool#{name}", sk="pool", put=put, once=once, remove=remove))

    def claim_renewal(self, name: str, *, at: datetime) -> bool:
        """Take it upon oneself to make the pool's record anew, unless somebody just does."""
        stale = Attr("renewing_at").lt((at - RENEWAL_TAKES).isoformat())
        unclaimed = Attr("renewing_at").not_exists() | stale
        is_due = Attr("renew_after").not_exists() | Attr("renew_after").lte(at.isoformat())
        put = {"renewing_at": at.isoformat()}
        when = unclaimed & is_due
        return self._table.write(Change(pk=f"pool#{name}", sk="pool", put=put, when=when))

    def put_off_renewal(self, name: str, *, until: datetime) -> None:
        """Have nobody make the pool's record anew before that."""
        self._note(name, {"renew_after": until.isoformat()})

    def note_made(self, name: str, record_id: int, at: datetime) -> None:
        """Remember a record of the pool: it goes once another one is in force and it is unused."""
        self._note(name, {f"{FORMER}{record_id}": at.isoformat()})

    def note_renewed(self, name: str) -> None:
        """The pool has another token, of which GitLab has yet to say when it expires."""
        facts = ("verified_at", "token_made_at", "token_expires_at")
        remove = (*facts, "renewal_failed", "renewal_failed_at", "renewing_at", "renew_after")
        self._table.write(Change(pk=f"pool#{name}", sk="pool", remove=remove))

    def note_renewal_failed(self, name: str, words: str, *, at: datetime) -> None:
        """Remember that the pool's token could not be renewed, and since when."""
        put = {"renewal_failed": words}
        once = {"renewal_failed_at": at.isoformat()}
        change = Change(pk=f"pool#{name}", sk="pool", put=put, once=once, remove=("renewing_at",))
        self._table.write(change)

    def forget_record(self, name: str, record_id: int) -> None:
        """No such record of the pool any more."""
        change = Change(pk=f"pool#{name}", sk="pool", remove=(f"{FORMER}{record_id}",))
        self._table.write(change)

    def holds(self) -> tuple[Hold, ...]:
        """Where GitLab gives, or gave lately, no credential for machines."""
        return tuple(_hold(item) for item in self._table.query("hold"))

    def note_hold(self, hold: Hold) -> None:
        """Remember a hold, or that it is lifted; one for each scope."""
        told = {
            "pool": hold.pool,
            "project_id": hold.project_id,
            "kind_of_hold": hold.kind.value,
            "since": hold.since.isoformat(),
            "ask_at": hold.ask_at.isoformat(),
            "failures": hold.failures,
            "words": hold.words,
            "status": hold.status,
            "shared": hold.shared,
            "lifted_at": hold.lifted_at.isoformat() if hold.lifted_at else None,
            "ttl": int((hold.ask_at + HOLD_KEPT).timestamp()),
        }
        put = {name: value for name, value in told.items() if value is not None}
        remove = tuple(name for name, value in told.items() if value is None)
        self._table.write(Change(pk="hold", sk=_scope(hold), put=put, remove=remove))

    def drop_holds(self) -> None:
        """Have GitLab asked at once, wherever it gave no credential: something was applied."""
        for hold in self.holds():
            self._table.write(Change(pk="hold", sk=_scope(hold), delete=True))

    def token_looked_at(self) -> tuple[datetime | None, date | None]:
        """When GitLab was asked until when the fleet's token is valid, and what it said."""
        item = self._table.get(TOKEN_LIFE, TOKEN_LIFE) or {}
        expires_on = item.get("expires_on")
        return _time(item.get("at")), date.fromisoformat(expires_on) if expires_on else None

    def note_token_life(self, expires_on: date | None, *, at: datetime) -> None:
        """Remember it; None for a token that does not expire."""
        put = {"at": at.isoformat()} | ({"expires_on": f"{expires_on}"} if expires_on else {})
        remove = () if expires_on else ("expires_on",)
        self._table.write(Change(pk=TOKEN_LIFE, sk=TOKEN_LIFE, put=put, remove=remove))

    def forget_token_life(self) -> None:
        """Have GitLab asked again: the token may be another."""
        if self.token_looked_at() != (None, None):
            self._table.write(Change(pk=TOKEN_LIFE, sk=TOKEN_LIFE, delete=True))

    def troubles(self) -> tuple[Trouble, ...]:
        """For what GitLab cannot be used with the fleet's token; nothing while all is well."""
        return tuple(
            Trouble(
                kind=item["sk"],
                since=datetime.fromisoformat(item["since"]),
                call=item["call"],
                words=item["words"],
            )
            for item in self._table.query(TROUBLE)
        )

    def note_trouble(self, trouble: Trouble) -> bool:
        """Remember it; False where it was known, since earlier."""
        told = {"since": trouble.since.isoformat(), "call": trouble.call, "words": trouble.words}
        return self._table.write(Change(pk=TROUBLE, sk=trouble.kind, put=told, when=absent()))

    def drop_trouble(self, kind: str) -> None:
        """GitLab can be used again in this respect."""
        self._table.write(Change(pk=TROUBLE, sk=kind, delete=True))

    def heard_from(self, instance: str, project_id: int, path: str, *, at: datetime) -> None:
        """A hook of this project came, which makes it one that is watched closely."""
        # A busy project is written once a minute, not once a hook, and is asked about by few.
        if at - self._heard.get((instance, project_id), at - HEARD_EVERY) < HEARD_EVERY:
            return
        told = {"last_hook_at": at.isoformat(), "path": path}
        stale = Attr("last_hook_at").lt((at - HEARD_EVERY).isoformat())
        when = Attr("last_hook_at").not_exists() | stale
        self._watch(instance, project_id, told, at, when=when)
        self._heard[instance, project_id] = at

    def watch(self, instance: str, project_id: int, path: str, *, at: datetime) -> None:
        """Watch a project from now on; an empty path leaves a known one as it is."""
        self._watch(instance, project_id, {"path": path} if path else {}, at)

    def note_polled(self, instance: str, project_id: int, *, at: datetime) -> None:
        """Its pending jobs were read."""
        self._watch(instance, project_id, {"last_polled_at": at.isoformat()}, at)

    def watched(self, instance: str) -> tuple[Watched, ...]:
        """Every project whose pending jobs are read."""
        unhealthy = {hook.scope for hook in self.hooks(instance) if not hook.healthy}
        # Which projects a group has is not kept: a sick group hook makes all of them urgent.
        in_groups = any(scope.startswith("group:") for scope in unhealthy)
        items = self._table.query_index("recent", "kind", "project")
        return tuple(
            Watched(
                project_id=item["project_id"],
                instance=item["instance"],
                last_hook_at=_time(item.get("last_hook_at")),
                last_polled_at=_time(item.get("last_polled_at")),
                hook_healthy=f"project:{item['project_id']}" not in unhealthy and not in_groups,
                path=item.get("path", ""),
            )
            for item in items
            if item["instance"] == instance
        )

    def listing_due(self, instance: str, *, at: datetime, every: timedelta) -> bool:
        """Whether the projects of groups were not listed for so long."""
        item = self._table.get(f"watch#{instance}", "groups")
        return item is None or at - datetime.fromisoformat(item["listed_at"]) >= every

    def note_listed(self, instance: str, *, at: datetime) -> None:
        """The projects of groups were listed."""
        told = {"listed_at": at.isoformat()}
        self._table.write(Change(pk=f"watch#{instance}", sk="groups", put=told))

    def claim_pipeline(self, instance: str, pipeline_id: int, *, at: datetime) -> Reading:
        """Take it upon oneself to read a pipeline's pending jobs, unless somebody just did."""
        pk = _pipeline(instance, pipeline_id)
        told = {
            "listed_at": at.isoformat(),
            "done": False,
            "ttl": int((at + LISTING_KEPT).timestamp()),
        }
        stale = Attr("listed_at").lt((at - PIPELINE_EVERY).isoformat())
        when = Attr("listed_at").not_exists() | stale
        if self._table.write(Change(pk=pk, sk="pipeline", put=told, when=when)):
            return Reading.MINE
        item = self._table.get(pk, "pipeline")
        return Reading.UNDER_WAY if item is not None and not item["done"] else Reading.DONE

    def note_pipeline(
        self, instance: str, pipeline_id: int, *, read: bool, waits: bool = False
    ) -> None:
        """The claimed pipeline was read and its jobs are in the ledger, or may be claimed again.

        `waits`: one of them waits in a pool and wants a runner.
        """
        pk = _pipeline(instance, pipeline_id)
        gone = Change(pk=pk, sk="pipeline", delete=True)
        told = {"done": True, "waits": waits}
        self._table.write(Change(pk=pk, sk="pipeline", put=told) if read else gone)

    def owes_wake(self, instance: str, pipeline_id: int, *, at: datetime) -> bool:
        """Whether jobs of a pipeline were routed lately whose reader may not have woken scaling.

        It does so last. Its death in between shows nowhere, so whoever comes by wakes again.
        """
        item = self._table.get(_pipeline(instance, pipeline_id), "pipeline")
        if item is None or "listed_at" not in item:
            return False
        is_late = at - datetime.fromisoformat(item["listed_at"]) > WAKE_OWED
        return not is_late and bool(not item["done"] or item.get("waits"))

    def stray_since(self, name: str, *, at: datetime) -> datetime:
        """Since when something without a row is seen; now, when it is for the first time."""
        key = (f"stray#{name}", "stray")
        item = self._table.get(*key)
        if item is not None:
            return datetime.fromisoformat(item["since"])
        ttl = int((at + STRAY_KEPT).timestamp())
        told = {"since": at.isoformat(), "ttl": ttl}
        self._table.write(Change(pk=key[0], sk=key[1], put=told))
        return at

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

    def take_lease(self, name: str, holder: str, *, at: datetime) -> bool:
        """Whether the holder may do alone what the name stands for, until it is released.

        A lease that its holder did not give back, because it died, is free after a minute.
        """
        free = Attr("until").not_exists() | Attr("until").lt(at.isoformat())
        told = {"holder": holder, "until": (at + LEASE_KEPT).isoformat()}
        return self._table.write(Change(pk=f"lease#{name}", sk="lease", put=told, when=free))

    def release_lease(self, name: str, holder: str) -> None:
        """Give it back, unless another has it by now."""
        mine = Attr("holder").eq(holder)
        self._table.write(Change(pk=f"lease#{name}", sk="lease", delete=True, when=mine))

    def _note_hook(
        self, hook: HookRow, told: Mapping[str, object], *, remove: tuple[str, ...] = ()
    ) -> None:
        at = hook.registered_at
        same = Attr("registered_at")
        as_seen = same.eq(at.isoformat()) if at else same.not_exists()
        when = Attr("hook_id").eq(hook.hook_id) & as_seen
        pk = _hook(hook.instance, hook.scope)
        self._table.write(Change(pk=pk, sk="hook", put=told, remove=remove, when=when))

    def _note(self, pool: str, told: Mapping[str, object]) -> None:
        self._table.write(Change(pk=f"pool#{pool}", sk="pool", put=told))

    def _watch(
        self,
        instance: str,
        project_id: int,
        told: Mapping[str, object],
        at: datetime,
        *,
        when: ConditionBase | None = None,
    ) -> None:
        identity = {"instance": instance, "project_id": project_id, "kind": "project"}
        self._table.write(
            Change(
                pk=f"project#{instance}#{project_id}",
                sk="project",
                put=told,
                once=identity | {"changed_at": at.isoformat()},
                when=when,
            )
        )


def _scope(hold: Hold) -> str:
    return f"{hold.pool or '*'}#{hold.project_id or '*'}"


def _hold(item: Item) -> Hold:
    return Hold(
        pool=item.get("pool"),
        project_id=item.get("project_id"),
        kind=HoldKind(item["kind_of_hold"]),
        since=datetime.fromisoformat(item["since"]),
        ask_at=datetime.fromisoformat(item["ask_at"]),
        failures=item["failures"],
        words=item["words"],
        status=item.get("status"),
        shared=item["shared"],
        lifted_at=_time(item.get("lifted_at")),
    )


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
        registered_at=_time(item.get("registered_at")),
        healthy=item["healthy"],
        detail=item.get("detail"),
    )


def _pipeline(instance: str, pipeline_id: int) -> str:
    return f"pipeline#{instance}#{pipeline_id}"


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
