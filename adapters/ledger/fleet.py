"""The ledger's rows about the fleet itself, all subjects together, leases and strays."""

from datetime import datetime, timedelta

from boto3.dynamodb.conditions import Attr

from adapters.ledger.configuration import ConfigurationRows
from adapters.ledger.controls import ControlRows
from adapters.ledger.holds import HoldRows
from adapters.ledger.pipelines import PipelineRows
from adapters.ledger.pools import PoolRows
from adapters.ledger.projects import ProjectRows
from adapters.ledger.rows import RowType
from adapters.ledger.spending import SpendingRows
from adapters.ledger.table import Change, time_of
from fleet.rules.problems.facts import LastSweep

SWEEP_ROW = RowType(of=LastSweep)
STRAY_KEPT = timedelta(days=1)
LEASE_KEPT = timedelta(minutes=1)


class FleetRows(
    ConfigurationRows,
    ControlRows,
    PoolRows,
    HoldRows,
    ProjectRows,
    PipelineRows,
    SpendingRows,
):
    """Reads and writes of these rows. Every write may be repeated."""

    def stray_since(self, name: str, *, at: datetime) -> datetime:
        """When the sweep first saw something that has no row; `at` for a new one, recorded."""
        pk = f"stray#{name}"
        since = time_of(self._table.get(pk, "stray"), "since")
        if since is not None:
            return since
        put = {"since": at, "ttl": int((at + STRAY_KEPT).timestamp())}
        self._table.write(Change(pk=pk, sk="stray", put=put))
        return at

    def last_sweep(self) -> LastSweep | None:
        """What the last sweep left undone; None: no sweep left anything yet."""
        return self._readable_one(SWEEP_ROW.read, self._table.get("sweep", "last"))

    def note_sweep(self, swept: LastSweep) -> None:
        """Record what a sweep left undone, where that differs from before."""
        before = self.last_sweep()
        known = (before.leaked, before.neighbours) if before else ((), ())
        if known != (swept.leaked, swept.neighbours):
            self._table.write(SWEEP_ROW.replacing("sweep", "last", swept))

    def take_lease(self, name: str, holder: str, *, at: datetime) -> bool:
        """Whether the holder has the lease, alone, until it releases it.

        A lease whose holder died is free after a minute.
        """
        free = Attr("until").not_exists() | Attr("until").lt(at)
        put = {"holder": holder, "until": at + LEASE_KEPT}
        return self._table.write(Change(pk=f"lease#{name}", sk="lease", put=put, when=free))

    def release_lease(self, name: str, holder: str) -> None:
        """Free the lease, unless it has another holder by now."""
        mine = Attr("holder").eq(holder)
        self._table.write(Change(pk=f"lease#{name}", sk="lease", delete=True, when=mine))
