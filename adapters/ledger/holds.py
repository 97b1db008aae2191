"""The ledger's rows of what GitLab gives or refuses the fleet: holds, troubles, its token's end."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from adapters.ledger.rows import RowType
from adapters.ledger.table import Change, Rows, absent
from fleet.holds import Hold
from fleet.times import HasUtcTimes
from fleet.trouble import Trouble

HOLD_KEPT = timedelta(days=1)
TROUBLE = "gitlab-trouble"  # the partition of these rows
TOKEN_LIFE = "gitlab-token"  # noqa: S105


@dataclass(frozen=True, slots=True, kw_only=True)
class _TokenLife(HasUtcTimes):
    at: datetime | None = None  # of the question
    expires_on: date | None = None


HOLD_ROW = RowType(of=Hold, names={"kind": "kind_of_hold"})  # `kind` is an index's key
TROUBLE_ROW = RowType(of=Trouble, names={"kind": "sk"})
TOKEN_LIFE_ROW = RowType(of=_TokenLife)


class HoldRows(Rows):
    """Reads and writes of these rows. Every write may be repeated."""

    def holds(self) -> tuple[Hold, ...]:
        """Every scope for which GitLab refuses credentials, or refused them lately."""
        return tuple(self._readable(HOLD_ROW.read, self._table.query("hold")))

    def note_hold(self, hold: Hold) -> None:
        """Record a hold, or its end; there is one for each scope."""
        ttl = int((hold.ask_at + HOLD_KEPT).timestamp())
        self._table.write(HOLD_ROW.replacing("hold", _scope(hold), hold, ttl=ttl))

    def drop_holds(self) -> None:
        """Delete every hold, so that the fleet asks GitLab at once."""
        for hold in self.holds():
            self._table.write(Change(pk="hold", sk=_scope(hold), delete=True))

    def token_life(self) -> tuple[datetime | None, date | None]:
        """When the fleet last asked for the end of its token, and GitLab's answer."""
        item = self._table.get(TOKEN_LIFE, TOKEN_LIFE)
        life = self._readable_one(TOKEN_LIFE_ROW.read, item) or _TokenLife()
        return life.at, life.expires_on

    def note_token_life(self, expires_on: date | None, *, at: datetime) -> None:
        """Record GitLab's answer; None for a token that does not expire."""
        life = _TokenLife(at=at, expires_on=expires_on)
        self._table.write(TOKEN_LIFE_ROW.replacing(TOKEN_LIFE, TOKEN_LIFE, life))

    def forget_token_life(self) -> None:
        """Delete the answer: the fleet may have another token now."""
        if self.token_life() != (None, None):
            self._table.write(Change(pk=TOKEN_LIFE, sk=TOKEN_LIFE, delete=True))

    def troubles(self) -> tuple[Trouble, ...]:
        """What the fleet cannot use its token for; empty when all calls work."""
        return tuple(self._readable(TROUBLE_ROW.read, self._table.query(TROUBLE)))

    def note_trouble(self, trouble: Trouble) -> bool:
        """Record a trouble; False when one of its kind is recorded."""
        put = TROUBLE_ROW.write(trouble, without={"kind"})
        return self._table.write(Change(pk=TROUBLE, sk=trouble.kind, put=put, when=absent()))

    def drop_trouble(self, kind: str) -> None:
        """Delete a trouble that is over."""
        self._table.write(Change(pk=TROUBLE, sk=kind, delete=True))


def _scope(hold: Hold) -> str:
    return f"{hold.pool or '*'}#{hold.project_id or '*'}"
