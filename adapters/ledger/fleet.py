"""The ledger's rows about the fleet itself, all subjects together, leases and strays."""

from datetime import datetime, timedelta

from boto3.dynamodb.conditions import Attr

from adapters.ledger.configuration import ConfigurationRows
from adapters.ledger.holds import HoldRows
from adapters.ledger.pipelines import PipelineRows
from adapters.ledger.pools import PoolRows
from adapters.ledger.projects import ProjectRows
from adapters.ledger.table import Change

STRAY_KEPT = timedelta(days=1)
LEASE_KEPT = timedelta(minutes=1)


class FleetRows(ConfigurationRows, PoolRows, HoldRows, ProjectRows, PipelineRows):
    """Reads and writes of these rows. Every write may be repeated."""

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
