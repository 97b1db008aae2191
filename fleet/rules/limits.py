"""What a pool's configuration allows now."""

from datetime import datetime, timedelta

from fleet.config.model import PoolConfig
from fleet.config.reading import FleetConfig
from fleet.model import Limits
from fleet.rules.calls import records_at_most
from fleet.rules.liveness import FRESH
from fleet.rules.schedule import idle_target

# A launch writes about seven units at its pool's partition key, which takes 1,000 a second: the
# rows of a pool and of its runners have one. `local burst` counts them.
AT_MOST = 125
# For the last runners of a pool that `apply` took away.
LEAVING = Limits(
    ceiling=0,
    idle_target=0,
    idle_time_s=0,
    launch_at_most=0,
    attempts=0,
    boot_deadline_s=300,
    stalled_after_s=300,
)


def shares_record(config: FleetConfig, pool: PoolConfig | None) -> bool:
    """Whether a pool's machines share its runner record; of a removed pool (None) as configured.

    Those of a `protected_only` pool never do: a shared token outlives the machine that leaks it.
    """
    is_protected = pool is not None and pool.protected_only
    return config.gitlab.credentials == "shared" and not is_protected


def limits_of(config: FleetConfig, pool: PoolConfig, at: datetime) -> Limits:
    """The limits of a pool. A record of its own for each machine costs a call to GitLab."""
    at_most = AT_MOST
    if not shares_record(config, pool):
        at_most = min(AT_MOST, records_at_most(config.gitlab.calls_per_minute))
    return Limits(
        ceiling=pool.ceiling,
        idle_target=idle_target(pool.idle, at),
        idle_time_s=pool.idle.idle_time.total_seconds(),
        launch_at_most=at_most,
        attempts=pool.attempts,
        boot_deadline_s=pool.boot_deadline.total_seconds(),
        stalled_after_s=pool.stalled_after.total_seconds(),
    )


def is_full(*, in_use: int, ceiling: int, backlog: int) -> bool:
    """Whether jobs wait in a pool that has no room under the ceiling in force."""
    return backlog > 0 and in_use >= ceiling


def fresh_for(limits: Limits) -> timedelta:
    """The age up to which a report's own date proves it fresh."""
    return min(FRESH, timedelta(seconds=limits.stalled_after_s / 5))


def refusal_in_force(
    words: str | None, *, version: str | None, current: str, dry_until: datetime | None
) -> str | None:
    """AWS's words about the configuration of `version`, while it is `current` and not asked again.

    A permission or a network is corrected without a new configuration: AWS is asked again when the
    back-off is over (`dry_until` is None).
    """
    return words if dry_until is not None and version == current else None


def may_judge_records(stored: str | None, *, version: str) -> bool:
    """Whether a process with the configuration of `version` may drain outdated runners.

    A function keeps a configuration for minutes. One that is behind the `stored` version must not
    drain the runners that another launched by the newer one.
    """
    return stored is None or stored == version
