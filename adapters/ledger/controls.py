"""The ledger's rows of an operator's orders, and the audit of who gave and took them back."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from adapters.ledger.rows import RowType
from adapters.ledger.table import Change, Rows
from fleet.rules.controls import Control
from fleet.times import HasUtcTimes

CONTROL = "control"  # the partition
ACT_KEPT = timedelta(days=90)
LAPSED_KEPT = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Act(HasUtcTimes):
    """One line of the audit: who did what, and when."""

    at: datetime
    who: str
    what: str  # such as "pause docker until 2026-11-26T12:00"
    note: str = ""


CONTROL_ROW = RowType(of=Control, names={"kind": "kind_of_control"})  # `kind` is an index's key
ACT_ROW = RowType(of=Act)


class ControlRows(Rows):
    """Reads and writes of these rows. An order and its line in the audit are written together."""

    def controls(self) -> tuple[Control, ...]:
        """Every order that is there; some have lapsed."""
        return tuple(self._readable(CONTROL_ROW.read, self._table.query(CONTROL)))

    def order(self, control: Control, act: Act) -> None:
        """Give an order, instead of one about the same."""
        ttl = {}
        if control.until is not None:
            ttl = {"ttl": int((control.until + LAPSED_KEPT).timestamp())}
        keys = {"pk": CONTROL, "sk": _name(control), **ttl}
        put = CONTROL_ROW.write(control) | keys
        self._table.transact([Change(pk=CONTROL, sk=_name(control), put=put), _line(act)])

    def take_back(self, control: Control, act: Act) -> None:
        """Take an order back."""
        gone = Change(pk=CONTROL, sk=_name(control), delete=True)
        self._table.transact([gone, _line(act)])

    def acts(self, since: datetime, until: datetime) -> tuple[Act, ...]:
        """The audit between two times, oldest first."""
        months = (f"acts#{month}" for month in _months(since, until))
        items = (item for pk in months for item in self._table.query(pk))
        acts = self._readable(ACT_ROW.read, items)
        return tuple(act for act in acts if since <= act.at < until)


def _line(act: Act) -> Change:
    pk, sk = f"acts#{act.at:%Y-%m}", f"{act.at.isoformat()} {act.what}"
    keys = {"pk": pk, "sk": sk, "ttl": int((act.at + ACT_KEPT).timestamp())}
    return Change(pk=pk, sk=sk, put=ACT_ROW.write(act) | keys)


def _name(control: Control) -> str:
    return f"{control.kind}#{control.about}"


def _months(since: datetime, until: datetime) -> Iterator[str]:
    month = since.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    while month < until:
        yield f"{month:%Y-%m}"
        month = (month + timedelta(days=32)).replace(day=1)
