"""What is logged to be measured: pools and fleet once a minute, and each ended run.

A fleet at zero without trouble logs nothing here: metrics cost by the hour in which they are sent.
"""

from collections.abc import Iterable
from datetime import datetime

from fleet.events import FleetMeasured, JobServed, MachinePaid, PoolMeasured, emit
from fleet.model import Job
from fleet.past import PastRun
from fleet.rules.problems import FleetFacts, PoolFacts, count_stuck
from orchestrator.world import World


def measure(world: World, waiting: Iterable[Job]) -> None:
    """Log each pool that is in use or waited for, and the fleet. `waiting`: all jobs in pools."""
    at = world.clock()
    by_pool: dict[str, list[Job]] = {}
    for job in waiting:
        by_pool.setdefault(job.pool or "", []).append(job)
    pools = [_measured(world, name, ceiling, by_pool.get(name, []), at)
             for name, ceiling in _ceilings(world, by_pool)]  # fmt: skip
    busy = [pool for pool in pools if pool.in_use or pool.backlog]
    for pool in busy:
        emit(pool)
    troubles = len(world.fleet.troubles())
    if not busy and not troubles:
        return
    waits = [pool.oldest_wait_s for pool in busy if pool.oldest_wait_s is not None]
    emit(
        FleetMeasured(
            oldest_wait_s=max(waits, default=0.0),
            stuck=_stuck(world, by_pool, at),
            full_pools=sum(pool.in_use >= pool.ceiling and pool.backlog > 0 for pool in busy),
            troubles=troubles,
            calls_left_percent=round(world.gitlab.api.calls_left.percent, 1),
        )
    )


def announce(run: PastRun) -> None:
    """Log what a machine cost, and how long its job waited by hop."""
    pool = run.pool or ""
    if run.usd:
        emit(MachinePaid(runner_id=run.id, pool=pool, usd=float(run.usd)))
    hops = run.hops()
    if hops is None or run.job_id is None:
        return
    emit(
        JobServed(
            job_id=run.job_id,
            pool=pool,
            outcome=run.outcome,
            waited_s=round(sum(hops.values()), 3),
            **{f"{hop.value}_s": round(seconds, 3) for hop, seconds in hops.items()},
        )
    )


def _ceilings(world: World, waited_for: Iterable[str]) -> list[tuple[str, int]]:
    """The pools of the configuration, and others that jobs wait for: those have none."""
    known = {pool.name: pool.ceiling for pool in world.config.pools}
    return list((known | {name: 0 for name in waited_for if name not in known}).items())


def _measured(world: World, name: str, ceiling: int, jobs: list[Job], at: datetime) -> PoolMeasured:
    oldest = min((job.pending_at for job in jobs), default=None)
    return PoolMeasured(
        pool=name,
        in_use=world.fleet.shown_pool(name).in_use,
        ceiling=ceiling,
        backlog=len(jobs),
        oldest_wait_s=max(0.0, (at - oldest).total_seconds()) if oldest else None,
    )


def _stuck(world: World, by_pool: dict[str, list[Job]], at: datetime) -> int:
    pools = (
        PoolFacts(name=name, config=world.pool(name), backlog=tuple(jobs))
        for name, jobs in by_pool.items()
    )
    return count_stuck(
        FleetFacts(
            at=at,
            config=world.config,
            applied_at=world.applied_at or at,
            pools=tuple(pools),
        )
    )
