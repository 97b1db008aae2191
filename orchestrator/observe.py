"""Facts about one pool, gathered into the frozen value that the rules decide on."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from adapters.ledger.pools import PoolRow
from fleet.config.reading import PoolConfig
from fleet.model import Job, JobKey, JobStatus, Limits, Runner, Snapshot
from fleet.rules.capacity import dry_until
from fleet.rules.fit import is_outdated, serves
from fleet.rules.holds import remembered
from fleet.rules.job_runner import awaits_word
from fleet.rules.limits import limits_of, may_judge_records, refusal_in_force
from fleet.rules.liveness import by_our_clock
from fleet.rules.warm import warm_hold
from orchestrator.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One pool at one time: its facts, its limits, and the row that guards a launch."""

    pool: PoolConfig
    row: PoolRow
    seen: Snapshot
    limits: Limits
    listed: frozenset[JobKey]  # waiting jobs, as the index shows them

    @property
    def is_held(self) -> bool:
        """Whether GitLab gave no credential to some of the pool's machines."""
        return any(hold.lifted_at is None for hold in self.seen.holds)


def observe(world: World, pool: PoolConfig, *, messages: int) -> Observed:
    """Read the pool's row first: a launch is refused when another reserved after that."""
    at = world.clock()
    row = world.fleet.pool(pool.name)
    runners = tuple(by_our_clock(runner, at) for runner in world.runners.live(pool.name))
    waiting = world.jobs.waiting_in(pool.name)
    backlog = _pending(world, waiting, runners)
    dry = dry_until(world.backend(pool).capacity_pools(pool), row.back_off or {}, at)
    seen = Snapshot(
        at=at,
        pool=pool.name,
        backlog=backlog,
        runners=_with_claims(world, runners, backlog, at),
        messages=messages,
        dry_until=dry,
        refused=refusal_in_force(
            row.refused,
            version=row.refused_version,
            current=world.config.version,
            dry_until=dry,
        ),
        holds=remembered(world.fleet.holds(), pool.name, at),
        warm_hold=warm_hold(row.warm, attempts=pool.attempts, at=at),
        warm_at_most=1 if row.warm.failures else None,
    )
    return Observed(
        pool=pool,
        row=row,
        seen=seen,
        limits=_limits(world, pool, runners, at),
        listed=frozenset(job.key for job in waiting),
    )


def _pending(world: World, waiting: Iterable[Job], runners: Iterable[Runner]) -> tuple[Job, ...]:
    """The waiting jobs without those that are taken by their rows: the index lags behind them.

    Whichever runner is said to have a job, only its row decides.
    """
    said = {key for runner in runners for key in (runner.job, runner.claim) if key is not None}
    rows = world.jobs.jobs(job.key for job in waiting if job.key in said)
    return tuple(job for job in waiting if rows.get(job.key, job).status is JobStatus.PENDING)


def _with_claims(
    world: World, runners: Iterable[Runner], backlog: Iterable[Job], at: datetime
) -> tuple[Runner, ...]:
    """The runners, with those marked whose claim GitLab's word may follow; noted at first sight."""
    keys = frozenset(job.key for job in backlog)
    marked = tuple(replace(one, awaits_word=awaits_word(one, keys, at)) for one in runners)
    for runner in marked:
        if runner.awaits_word and runner.claimed_at is None:
            world.runners.note_claim(runner, at=at)
    return marked


def _limits(world: World, pool: PoolConfig, runners: Iterable[Runner], at: datetime) -> Limits:
    """The pool's limits, with what its runners must serve where their own record may differ."""
    limits = limits_of(world.config, pool, at)
    judged = replace(limits, serves=serves(pool, world.config.gitlab.runners_in))
    if not any(is_outdated(runner, judged) for runner in runners):
        return limits
    stored = world.fleet.config()  # read only now: it is another call to the ledger
    version = stored.version if stored else None
    return judged if may_judge_records(version, version=world.config.version) else limits
