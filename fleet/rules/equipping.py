"""Which runners still need a credential, what it opens, and how long a runner waits with it."""

from datetime import datetime, timedelta

from fleet.config.model import PoolConfig, RunnersIn
from fleet.model import Runner

# The launch equips its machines within this; until then no other code makes a record for them.
LAUNCH_TAKES = timedelta(minutes=1)
# The shortest wait of a machine for its job, however soon its token expires.
SHORTEST_PATIENCE = timedelta(minutes=1)


def is_abandoned(runner: Runner, at: datetime) -> bool:
    """Whether a runner without a credential is no longer the work of a launch under way."""
    return runner.covers and (runner.left_bare or at - runner.launched_at > LAUNCH_TAKES)


def patience(
    pool: PoolConfig, runner: Runner, *, token_expires_at: datetime | None, at: datetime
) -> timedelta:
    """How long a runner waits for its job before it says goodbye."""
    wait = pool.wait_timeout
    if runner.for_job is None:
        # A warm runner stops while a job that it takes last can still run to its end.
        wait = max(wait, runner.expires_at - at - pool.max_job_time)
    if token_expires_at is not None:
        # GitLab refuses a dead token. A running job no longer needs the token.
        valid = token_expires_at - at - pool.boot_deadline
        wait = min(wait, max(valid, SHORTEST_PATIENCE))
    return wait


def cache_project(runners_in: RunnersIn, runner: Runner) -> int | None:
    """The project whose cache a runner may read and write: the only one whose jobs it can get.

    None where GitLab may give it jobs of several: none of them gets keys to another's cache.
    """
    if runners_in.kind != "project":
        return None
    return runners_in.id if runners_in.id is not None else runner.project_id
