"""The ledger's rows of what GitLab gives or refuses the fleet: holds, troubles, its token's end."""

from datetime import date, datetime, timedelta

from adapters.ledger.table import Change, Item, Rows, absent, read_time
from fleet.rules.holds import Hold, HoldKind
from fleet.trouble import Trouble

HOLD_KEPT = timedelta(days=1)
TROUBLE = "gitlab-trouble"  # the partition of these rows
TOKEN_LIFE = "gitlab-token"  # noqa: S105


class HoldRows(Rows):
    """Reads and writes of these rows. Every write may be repeated."""

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
        return read_time(item.get("at")), date.fromisoformat(expires_on) if expires_on else None

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
        lifted_at=read_time(item.get("lifted_at")),
    )
