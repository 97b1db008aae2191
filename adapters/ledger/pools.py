"""The ledger's rows of pools, their runners aside: what AWS and GitLab said of each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from boto3.dynamodb.conditions import Attr

from adapters.ledger.rows import RowType, storable
from adapters.ledger.table import Change, Item, Rows
from fleet.rules.capacity import BackOff, note_applied
from fleet.rules.pool_token import RENEWAL_TAKES
from fleet.rules.warm import WarmMemory
from fleet.times import HasUtcTimes

REFUSAL = ("refused", "refused_version")  # its attributes
FORMER = "record_"  # and its number: the attribute of a record that the pool had


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRow(HasUtcTimes):
    """What the ledger knows of a pool besides its runners."""

    name: str
    in_use: int = 0  # live runners: the number of their rows
    version: int = 0  # each reservation adds one
    back_off: Mapping[str, BackOff] = field(default_factory=dict)  # by capacity pool
    refused: str | None = None  # AWS's words about the configuration of this version
    refused_version: str | None = None  # of fleet.toml
    reason: str | None = None  # of the last decision
    wants_room: bool = False  # the last decision left jobs waiting because the pool was full
    full_since: datetime | None = None  # since then jobs wait because of the ceiling
    verified_at: datetime | None = None  # presence in GitLab
    token_made_at: datetime | None = None  # of the pool's own runner record
    token_expires_at: datetime | None = None  # None: never
    renewal_failed_at: datetime | None = None  # the first failure since the last renewal
    renewal_failed: str | None = None  # GitLab's words
    former: Mapping[int, datetime] = field(default_factory=dict)  # replaced records: when
    warm: WarmMemory = field(default_factory=WarmMemory)  # of launches that failed


POOL_ROW = RowType(of=PoolRow, elsewhere=frozenset({"name", "former", "warm"}))
WARM_ROW = RowType(
    of=WarmMemory, names={name: f"warm_{name}" for name in ("failures", "failed_at", "why")}
)
WARM = tuple(WARM_ROW.names.values())  # its attributes


class PoolRows(Rows):
    """Reads and writes of these rows. Every write may be repeated."""

    def pool(self, name: str) -> PoolRow:
        """A pool's row; an empty one before its first launch."""
        return _pool_row(self._table.get(f"pool#{name}", "pool") or {}, name=name)

    def shown_pool(self, name: str) -> PoolRow:
        """The same for looks alone: an empty one where the row cannot be read."""
        item = self._table.get(f"pool#{name}", "pool")
        return self._readable_one(partial(_pool_row, name=name), item) or PoolRow(name=name)

    def note_back_off(self, name: str, back_off: Mapping[str, BackOff]) -> None:
        """Record until when which capacity pools are not asked."""
        self._note(name, {"back_off": storable(back_off)})

    def note_refused(self, name: str, words: str, config_version: str) -> None:
        """Record that AWS refuses the pool's configuration."""
        self._note(name, {"refused": words, "refused_version": config_version})

    def note_accepted(self, name: str) -> None:
        """Record that AWS takes the pool's configuration again."""
        self._table.write(Change(pk=f"pool#{name}", sk="pool", remove=REFUSAL))

    def forgive(self, name: str) -> None:
        """Drop the refusals that a new configuration may have cured: AWS is asked at once."""
        row = self.pool(name)
        kept = note_applied(row.back_off)
        if row.refused is None and kept == row.back_off and row.warm == WarmMemory():
            return
        put = {"back_off": storable(kept)}
        remove = (*REFUSAL, *WARM)
        self._table.write(Change(pk=f"pool#{name}", sk="pool", put=put, remove=remove))

    def note_warm_failure(self, name: str, before: WarmMemory, after: WarmMemory) -> bool:
        """Record a warm launch that failed; False when another was recorded meanwhile."""
        last = Attr("warm_failed_at")
        same = last.not_exists() if before.failed_at is None else last.eq(before.failed_at)
        put = WARM_ROW.write(after)
        return self._table.write(Change(pk=f"pool#{name}", sk="pool", put=put, when=same))

    def note_warm_served(self, name: str, before: WarmMemory) -> None:
        """Forget the warm launches that failed, unless another was recorded meanwhile."""
        same = Attr("warm_failed_at").eq(before.failed_at)
        self._table.write(Change(pk=f"pool#{name}", sk="pool", remove=WARM, when=same))

    def note_decision(self, name: str, reason: str, *, wants_room: bool = False) -> None:
        """Record the reason of the last decision, and whether jobs wait for a runner's end."""
        self._note(name, {"reason": reason, "wants_room": wants_room})

    def note_full(self, name: str, since: datetime | None) -> None:
        """Record since when jobs wait because of the ceiling; None: they do no more."""
        if since is None:
            self._table.write(Change(pk=f"pool#{name}", sk="pool", remove=("full_since",)))
        else:
            self._note(name, {"full_since": since})

    def note_verified(self, name: str, at: datetime, *, expires_at: datetime | None = None) -> None:
        """Record that GitLab verified the pool's own runner record, and when its token ends."""
        put = {"verified_at": at} | ({"token_expires_at": expires_at} if expires_at else {})
        once = {"token_made_at": at} if expires_at else {}
        remove = () if expires_at else ("token_expires_at", "token_made_at")
        self._table.write(Change(pk=f"pool#{name}", sk="pool", put=put, once=once, remove=remove))

    def claim_renewal(self, name: str, *, at: datetime) -> bool:
        """Claim the renewal of the pool's record; False when it is claimed or put off."""
        stale = Attr("renewing_at").lt(at - RENEWAL_TAKES)
        unclaimed = Attr("renewing_at").not_exists() | stale
        is_due = Attr("renew_after").not_exists() | Attr("renew_after").lte(at)
        put = {"renewing_at": at}
        when = unclaimed & is_due
        return self._table.write(Change(pk=f"pool#{name}", sk="pool", put=put, when=when))

    def put_off_renewal(self, name: str, *, until: datetime) -> None:
        """Allow no renewal of the pool's record before `until`."""
        self._note(name, {"renew_after": until})

    def note_made(self, name: str, record_id: int, at: datetime) -> None:
        """Record a runner record of the pool, to be deleted once it is replaced and unused."""
        self._note(name, {f"{FORMER}{record_id}": at})

    def note_renewed(self, name: str) -> None:
        """Record that the pool has another token, whose end GitLab has yet to say."""
        facts = ("verified_at", "token_made_at", "token_expires_at")
        remove = (*facts, "renewal_failed", "renewal_failed_at", "renewing_at", "renew_after")
        self._table.write(Change(pk=f"pool#{name}", sk="pool", remove=remove))

    def note_renewal_failed(self, name: str, words: str, *, at: datetime) -> None:
        """Record that a renewal of the pool's token failed, and when it did first."""
        put = {"renewal_failed": words}
        once = {"renewal_failed_at": at}
        change = Change(pk=f"pool#{name}", sk="pool", put=put, once=once, remove=("renewing_at",))
        self._table.write(change)

    def forget_record(self, name: str, record_id: int) -> None:
        """Record that GitLab has deleted a runner record of the pool."""
        change = Change(pk=f"pool#{name}", sk="pool", remove=(f"{FORMER}{record_id}",))
        self._table.write(change)

    def _note(self, pool: str, put: Mapping[str, object]) -> None:
        self._table.write(Change(pk=f"pool#{pool}", sk="pool", put=put))


def _pool_row(item: Item, *, name: str) -> PoolRow:
    former = {
        attribute.removeprefix(FORMER): at
        for attribute, at in item.items()
        if attribute.startswith(FORMER)
    }
    return POOL_ROW.read(item, name=name, former=former, warm=WARM_ROW.read(item))
