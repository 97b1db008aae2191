"""Facts about one pool, gathered into the frozen value that the rules decide on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from adapters.ledger.pools import PoolRow
from fleet.config.model import PoolConfig
from fleet.errors import Refused
from fleet.model import Job, JobKey, JobStatus, Limits, Runner, Snapshot
from fleet.reasons import Reason
from fleet.rules.budgets import Spending, has_budgets, pool_use, projects_used_up, with_living
from fleet.rules.capacity import dry_until
from fleet.rules.controls import Control, ceiling_of, in_force, pause_of
from fleet.rules.holds import remembered
from fleet.rules.job_runner import awaits_word
from fleet.rules.limits import limits_of, may_judge_records, refusal_in_force
from fleet.rules.liveness import by_our_clock
from fleet.rules.outdated import is_outdated, serves
from fleet.rules.warm import why_no_warm
from orchestrator.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One pool at one time: its facts, its limits, and the row that guards a launch."""

    pool: PoolConfig
    row: PoolRow
    snapshot: Snapshot
    limits: Limits
    listed: frozenset[JobKey]  # waiting jobs, as the index shows them

    @property
    def is_held(self) -> bool:
        """Whether GitLab gave no credential to some of the pool's machines."""
        return any(hold.lifted_at is None for hold in self.snapshot.holds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restraints:
    """What keeps pools from launching, for all pools of one round."""

    controls: tuple[Control, ...] = ()  # in force
    spending: Spending = field(default_factory=Spending)  # today's
    pools: Mapping[str, "PoolNow"] = field(default_factory=dict)  # read to count the spending


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolNow:
    """A pool's row, and its live runners as they are after it."""

    row: PoolRow
    runners: tuple[Runner, ...]


def observe_restraints(world: World) -> Restraints:
    """The operator's orders, and where there are budgets, what was spent today."""
    at = world.clock()
    controls = in_force(world.fleet.controls(), at)
    if not has_budgets(world.config):
        return Restraints(controls=controls)
    pools: dict[str, PoolNow] = {}
    living: list[Runner] = []
    for pool in world.config.pools:
        try:
            pools[pool.name] = _read(world, pool.name)
            living += pools[pool.name].runners
        except Refused:  # its row cannot be read: `observe` fails for this pool alone
            living += world.runners.live(pool.name)
    spent = with_living(world.fleet.spent(at.date()), living, world.config, at)
    return Restraints(controls=controls, spending=spent, pools=pools)


def _read(world: World, pool: str) -> PoolNow:
    """Read the row first: a launch is refused when another reserved after that."""
    row = world.fleet.pool(pool)
    return PoolNow(row=row, runners=tuple(world.runners.live(pool)))


def observe(
    world: World, pool: PoolConfig, *, messages: int, restraints: Restraints | None = None
) -> Observed:
    """The pool as it is now, or as it was when the spending of this round was counted.

    The pool that is answered has the ceiling that is in force.
    """
    restraints = restraints or Restraints()
    ceiling = ceiling_of(restraints.controls, pool.name, pool.ceiling)
    pool = pool.model_copy(update={"ceiling": ceiling})
    at = world.clock()
    now = restraints.pools.get(pool.name) or _read(world, pool.name)
    row = now.row
    runners = tuple(by_our_clock(runner, at) for runner in now.runners)
    waiting = world.jobs.waiting_in(pool.name)
    backlog = _pending(world, waiting, runners)
    dry = dry_until(world.backend(pool).capacity_pools(pool), row.back_off or {}, at)
    snapshot = Snapshot(
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
        why_no_launch=_why_no_launch(world, pool, restraints),
        over_budget=projects_used_up(world.config, restraints.spending, backlog),
        why_no_warm=why_no_warm(row.warm, attempts=pool.attempts, at=at),
        warm_at_most=1 if row.warm.failures else None,
    )
    return Observed(
        pool=pool,
        row=row,
        snapshot=snapshot,
        limits=_limits(world, pool, runners, at),
        listed=frozenset(job.key for job in waiting),
    )


def _why_no_launch(world: World, pool: PoolConfig, restraints: Restraints) -> Reason | None:
    """Why nothing may be launched in the pool; None: it may."""
    if pause_of(restraints.controls, pool.name) is not None:
        return Reason.PAUSED
    use = pool_use(world.config, restraints.spending, pool.name)
    return Reason.BUDGET if use is not None and use.is_used_up else None


def _pending(world: World, waiting: Iterable[Job], runners: Iterable[Runner]) -> tuple[Job, ...]:
    """The waiting jobs without those that are taken by their rows: the index lags behind them.

    The job's row decides, not a runner's claim.
    """
    claimed_keys = {
        key for runner in runners for key in (runner.job, runner.claim) if key is not None
    }
    rows = world.jobs.jobs(job.key for job in waiting if job.key in claimed_keys)
    return tuple(job for job in waiting if rows.get(job.key, job).status is JobStatus.PENDING)


def _with_claims(
    world: World, runners: Iterable[Runner], backlog: Iterable[Job], at: datetime
) -> tuple[Runner, ...]:
    """The runners, with those marked whose claim GitLab's word may follow; noted at first sight."""
    keys = frozenset(job.key for job in backlog)
    marked = tuple(replace(runner, awaits_word=awaits_word(runner, keys, at)) for runner in runners)
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
