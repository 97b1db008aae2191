"""The ledger's rows of which pools do not fit which jobs, by project and name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from adapters.ledger.table import Change, Item, Rows, exists
from fleet.model import Job
from fleet.rules.image import Containers

# Since the last job of that name: each one that asks for something renews its row.
KEPT = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What earlier jobs of a name say of the next one."""

    outgrew: frozenset[str] = frozenset()  # pools in which one ran out of time
    containers: Containers = field(default_factory=Containers)  # of the last one


class FitRows(Rows):
    """Reads and writes of these rows. Every write may be repeated."""

    def of(self, instance: str, project_id: int, name: str, *, at: datetime) -> Fit:
        """What is known of a job of this name."""
        item = self._table.get(_pk(instance, project_id), name)
        return self._fits([item] if item else [], at).get(name, Fit())

    def of_project(self, instance: str, project_id: int, *, at: datetime) -> Mapping[str, Fit]:
        """The same for every job of a project of which something is known, by name."""
        return self._fits(list(self._table.query(_pk(instance, project_id))), at)

    def note(self, job: Job, *, at: datetime) -> None:
        """Record that a job of this name ran out of its pool's time."""
        if job.pool is not None:
            known = self._of(job, at)
            self._put(job, {"pools": sorted(known.outgrew | {job.pool})}, at=at)

    def note_containers(self, job: Job, containers: Containers, *, at: datetime) -> None:
        """Record what the configuration of a job of this name asks for now, also nothing more."""
        known = self._of(job, at)
        if containers:
            self._put(job, {"image": containers.image, "services": containers.services}, at=at)
        elif known.containers:
            pk = _pk(job.key.instance, job.project_id)
            gone = ("image", "services")
            self._table.write(Change(pk=pk, sk=job.name, remove=gone, when=exists()))

    def _of(self, job: Job, at: datetime) -> Fit:
        return self.of(job.key.instance, job.project_id, job.name, at=at)

    def _put(self, job: Job, facts: Mapping[str, Any], *, at: datetime) -> None:
        until = at + KEPT
        put = {**facts, "until": until, "ttl": int(until.timestamp())}
        pk = _pk(job.key.instance, job.project_id)
        self._table.write(Change(pk=pk, sk=job.name, put=put))

    def _fits(self, items: list[Item], at: datetime) -> dict[str, Fit]:
        """DynamoDB deletes a row up to some days after its time."""
        fits = self._readable(_fit, items)
        return {name: fit for name, until, fit in fits if until is None or at < until}


def _fit(item: Item) -> tuple[str, datetime | None, Fit]:
    image, until = item.get("image"), item.get("until")
    containers = Containers(
        image=str(image) if image else None, services=bool(item.get("services"))
    )
    fit = Fit(outgrew=frozenset(item.get("pools", ())), containers=containers)
    return item["sk"], datetime.fromisoformat(until) if until else None, fit


def _pk(instance: str, project_id: int) -> str:
    return f"fit#{instance}#{project_id}"
