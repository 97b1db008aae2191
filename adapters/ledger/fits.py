"""The ledger's rows of which pools were too short for which jobs."""

from collections.abc import Mapping

from adapters.ledger.table import Change, Item, Rows
from fleet.model import Job


class FitRows(Rows):
    """Reads and writes of these rows. Every write may be repeated."""

    def outgrew(self, instance: str, project_id: int, name: str) -> frozenset[str]:
        """The pools in which a job of this name ran out of time before."""
        item = self._table.get(_pk(instance, project_id), name)
        return dict(self._readable(_pools, [item] if item else [])).get(name, frozenset())

    def outgrown(self, instance: str, project_id: int) -> Mapping[str, frozenset[str]]:
        """The same for every job of a project that ran out of time, by name."""
        items = self._table.query(_pk(instance, project_id))
        return dict(self._readable(_pools, items))

    def note(self, job: Job) -> None:
        """Record that a job of this name ran out of its pool's time."""
        if job.pool is None:
            return
        known = self.outgrew(job.key.instance, job.project_id, job.name)
        pools = sorted(known | {job.pool})
        pk = _pk(job.key.instance, job.project_id)
        self._table.write(Change(pk=pk, sk=job.name, put={"pools": pools}))


def _pools(item: Item) -> tuple[str, frozenset[str]]:
    return item["sk"], frozenset(item["pools"])


def _pk(instance: str, project_id: int) -> str:
    return f"fit#{instance}#{project_id}"
