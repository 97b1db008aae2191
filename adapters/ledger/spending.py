"""The ledger's rows of what was spent on a day, for budgets: a counter for each pool and project.

A counter rises in the transaction that closes a runner, so each machine counts once.
"""

from collections.abc import Callable, Iterable
from datetime import date, timedelta
from typing import TypeVar

from adapters.ledger.table import Change, Item, Rows
from fleet.past import PastRun
from fleet.rules.budgets import Spending

KEPT = timedelta(days=3)
POOL, PROJECT = "pool#", "project#"
KeyT = TypeVar("KeyT")


def spending_changes(run: PastRun) -> list[Change]:
    """The counters that a machine's end raises; none for one without a price."""
    if not run.usd_nano or run.pool is None:
        return []
    names = [f"{POOL}{run.pool}"]
    if run.project_id is not None:
        names.append(f"{PROJECT}{run.project_id}")
    put = {"ttl": int((run.ended_at + KEPT).timestamp())}
    pk = _pk(run.ended_at.date())
    return [Change(pk=pk, sk=name, put=put, add={"nano": run.usd_nano}) for name in names]


class SpendingRows(Rows):
    """Reads of these rows."""

    def spent(self, day: date) -> Spending:
        """What the machines cost that ended on a day, UTC."""
        items = list(self._table.query(_pk(day)))
        return Spending(pools=self._by(POOL, str, items), projects=self._by(PROJECT, int, items))

    def _by(
        self, kind: str, named: Callable[[str], KeyT], items: Iterable[Item]
    ) -> dict[KeyT, int]:
        """The counters of one kind, by name."""

        def read(item: Item) -> tuple[KeyT, int]:
            return named(item["sk"].removeprefix(kind)), int(item.get("nano", 0))

        ours = (item for item in items if item["sk"].startswith(kind))
        return dict(self._readable(read, ours))


def _pk(day: date) -> str:
    return f"spend#{day:%Y-%m-%d}"
