"""The wanted runner record of a pool in GitLab."""

from adapters.gitlab.client import NewRunner
from fleet.config.reading import PoolConfig, RunnersIn
from fleet.rules.runner_record import pool_record_name


def wanted_record(pool: PoolConfig, owner: RunnersIn) -> NewRunner:
    """The wanted record of a pool of this owner."""
    return NewRunner(
        kind=f"{owner.kind}_type",
        owner_id=owner.id,
        description=pool_record_name(pool.name),
        tags=pool.tags,
        run_untagged=pool.run_untagged,
        maximum_timeout_s=int(pool.max_job_time.total_seconds()),
        locked=owner.kind == "project",
        protected_only=pool.protected_only,
    )
