"""The ledger's rows of pools, their runners aside: what AWS and GitLab said of each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from boto3.dynamodb.conditions import Attr

from adapters.ledger.table import Change, Rows, read_time
from fleet.rules.capacity import BackOff, note_applied
from fleet.times import HasUtcTimes

# Longer than the function lives that renews a token.
RENEWAL_TAKES = timedelta(minutes=2)
FORMER = "record_"  # and its number: the attribute of a record that the pool had


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


class PoolRows(Rows):
    """Reads and writes of these rows. Every write may be repeated."""

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
            token_made_at=read_time(item.get("token_made_at")),
            token_expires_at=read_time(item.get("token_expires_at")),
            renewal_failed_at=read_time(item.get("renewal_failed_at")),
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

    def _note(self, pool: str, told: Mapping[str, object]) -> None:
        self._table.write(Change(pk=f"pool#{pool}", sk="pool", put=told))
