"""What is logged to be measured: pools and fleet once a minute, and each ended run.

A fleet at zero without trouble logs nothing here: metrics cost by the hour in which they are sent.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from fleet.events import FleetMeasured, JobServed, MachinePaid, PoolMeasured, emit
from fleet.model import Job
from fleet.past import PastRun
from fleet.rules.controls import Control, ceiling_of, in_force
from fleet.rules.limits import is_full
from fleet.rules.problems.facts import FleetFacts, PoolFacts
from fleet.rules.problems.jobs import count_stuck
from orchestrator.world import World


def measure(world: World, waiting: Iterable[Job]) -> None:
    """Log each pool that is in use or waited for, and the fleet. `waiting`: all jobs in pools."""
    at = world.clock()
    by_pool: dict[str, list[Job]] = {}
    for job in waiting:
        by_pool.setdefault(job.pool or "", []).append(job)
    busy = _busy(world, by_pool, at)
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
            full_pools=sum(
                is_full(in_use=pool.in_use, ceiling=pool.ceiling, backlog=pool.backlog)
                for pool in busy
            ),
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


def _busy(
    world: World, waiting: Mapping[str, Sequence[Job]], at: datetime
) -> tuple[PoolMeasured, ...]:
    """The pools in use or waited for. `waiting`: also in pools that `apply` removed."""
    names = dict.fromkeys([*(pool.name for pool in world.config.pools), *waiting])
    in_use = {name: world.fleet.shown_pool(name).in_use for name in names}
    busy = [name for name in names if in_use[name] or waiting.get(name)]
    # Read only now: it is another call to the ledger.
    controls = in_force(world.fleet.controls(), at) if busy else ()
    return tuple(
        _measured(world, name, in_use[name], waiting.get(name, ()), controls) for name in busy
    )


def _measured(
    world: World, name: str, in_use: int, jobs: Sequence[Job], controls: Sequence[Control]
) -> PoolMeasured:
    at, pool = world.clock(), world.pool(name)
    oldest = min((job.pending_at for job in jobs), default=None)
    return PoolMeasured(
        pool=name,
        in_use=in_use,
        ceiling=ceiling_of(controls, name, pool.ceiling) if pool else 0,
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
