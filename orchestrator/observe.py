"""Facts about one pool, gathered into the frozen value that the rules decide on."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from adapters.ledger.pools import PoolRow
from fleet.config.reading import PoolConfig
from fleet.model import JobKey, Limits, Runner, Snapshot
from fleet.rules.capacity import dry_until
from fleet.rules.fit import is_outdated, serves
from fleet.rules.holds import Hold
from fleet.rules.liveness import by_our_clock
from fleet.rules.scale import untaken
from fleet.rules.schedule import idle_target
from orchestrator.world import World

# One CreateFleet call launches hundreds of machines. A runner record of its own per machine costs
# a GitLab call each: a third of the minute's calls may go there at once.
AT_MOST = 400
SHARE_OF_CALLS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One pool at one time: what is, what is allowed, and the row that guards a launch."""

    pool: PoolConfig
    row: PoolRow
    seen: Snapshot
    limits: Limits
    listed: frozenset[JobKey]  # who waits, as the index shows it

    @property
    def is_held(self) -> bool:
        """Whether GitLab gave no credential to some of the pool's machines."""
        return any(hold.lifted_at is None for hold in self.seen.holds)


def observe(world: World, pool: PoolConfig, *, messages: int) -> Observed:
    """Read the pool's row first: a launch is refused when somebody reserved after that."""
    at = world.clock()
    row = world.fleet.pool(pool.name)
    runners = tuple(by_our_clock(one, at) for one in world.runners.live(pool.name))
    waiting = world.jobs.waiting_in(pool.name)
    backlog = untaken(waiting, runners)
    dry = dry_until(world.backend(pool).capacity_pools(pool), row.back_off or {}, at)
    # A permission or a network is put right without a new configuration: what AWS refused is
    # asked again when its back-off is over.
    refused = row.refused if dry and row.refused_version == world.config.version else None
    seen = Snapshot(
        at=at,
        pool=pool.name,
        backlog=backlog,
        runners=runners,
        messages=messages,
        dry_until=dry,
        refused=refused,
        holds=_holds(world, pool, at),
    )
    return Observed(
        pool=pool,
        row=row,
        seen=seen,
        limits=_limits(world, pool, runners, at),
        listed=frozenset(job.key for job in waiting),
    )


def _holds(world: World, pool: PoolConfig, at: datetime) -> tuple[Hold, ...]:
    """What is held of the pool's launches, or was lately."""
    return tuple(
        hold
        for hold in world.fleet.holds()
        if hold.pool in {None, pool.name} and hold.is_remembered(at)
    )


def _limits(world: World, pool: PoolConfig, runners: Iterable[Runner], at: datetime) -> Limits:
    """The pool's limits, with what its runners must serve where their own record may differ.

    Functions keep a configuration for minutes. One that is behind must not drain what another
    launched by the newer one: then the two would take turns.
    """
    limits = limits_of(world, pool, at)
    judged = replace(limits, serves=serves(pool, world.config.gitlab.runners_in))
    if not any(is_outdated(one, judged) for one in runners):
        return limits
    stored = world.fleet.config()
    is_behind = stored is not None and stored.version != world.config.version
    return limits if is_behind else judged


def limits_of(world: World, pool: PoolConfig, at: datetime) -> Limits:
    """What the pool's configuration allows now."""
    gitlab = world.config.gitlab
    at_most = AT_MOST
    if gitlab.credentials == "per-machine":
        at_most = max(1, min(AT_MOST, gitlab.calls_per_minute // SHARE_OF_CALLS))
    return Limits(
        ceiling=pool.ceiling,
        idle_target=idle_target(pool.idle, at),
        idle_time_s=pool.idle.idle_time.total_seconds(),
        launch_at_most=at_most,
        attempts=pool.attempts,
        boot_deadline_s=pool.boot_deadline.total_seconds(),
        stalled_after_s=pool.stalled_after.total_seconds(),
    )
