"""A runner record as a pool's configuration wants it: of the pool itself, or of one machine."""

from adapters.gitlab.values import NewRunner
from fleet.config.model import PoolConfig, RunnersIn


def wanted_record(pool: PoolConfig, owner: RunnersIn, description: str) -> NewRunner:
    """The record of this owner that gets the pool's jobs; `description` names whose it is."""
    return NewRunner(
        kind=f"{owner.kind}_type",
        owner_id=owner.id,
        description=description,
        tags=pool.tags,
        run_untagged=pool.run_untagged,
        maximum_timeout_s=int(pool.max_job_time.total_seconds()),
        locked=owner.kind == "project",
        protected_only=pool.protected_only,
    )
