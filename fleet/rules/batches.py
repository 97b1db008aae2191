"""Which launches go into one order to the cloud, and which capacity pools each order asks."""

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.model import Job, ScalePlan
from fleet.rules.capacity import CapacityPool


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Runners that one order can launch: same project, same market."""

    jobs: tuple[Job | None, ...]  # None: a warm runner
    project_id: int | None  # of the runners' records; None: one record for all projects
    on_demand: bool


def batches(plan: ScalePlan, *, per_project: bool) -> tuple[Batch, ...]:
    """The launches of a plan, jobs before warm runners; a project's own runners are never warm."""
    by_kind: dict[tuple[int | None, bool], list[Job | None]] = {}
    for job in plan.launch:
        project_id = job.project_id if per_project else None
        by_kind.setdefault((project_id, job.on_demand), []).append(job)
    if plan.warm and not per_project:
        by_kind.setdefault((None, False), []).extend([None] * plan.warm)
    return tuple(
        Batch(jobs=tuple(jobs), project_id=project_id, on_demand=on_demand)
        for (project_id, on_demand), jobs in by_kind.items()
    )


def capacity_pools_for(batch: Batch, ready: Sequence[CapacityPool]) -> tuple[CapacityPool, ...]:
    """Those of `ready` that a batch asks: a retry avoids spot where the pool allows that."""
    on_demand = tuple(capacity for capacity in ready if capacity.market == "on-demand")
    return on_demand if batch.on_demand and on_demand else tuple(ready)
