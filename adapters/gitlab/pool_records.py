"""The wanted runner record of a pool in GitLab."""

from adapters.gitlab.client import NewRunner
from fleet.config.reading import PoolConfig, RunnersIn


def record_name(pool: str) -> str:
    """The description of a pool's record."""
    return f"fleet pool {pool}"


def wanted_record(pool: PoolConfig, owner: RunnersIn) -> NewRunner:
    """The wanted record of a pool of this owner."""
    return NewRunner(
        kind=f"{owner.kind}_type",
        owner_id=owner.id,
        description=record_name(pool.name),
        tags=pool.tags,
        run_untagged=pool.run_untagged,
        maximum_timeout_s=int(pool.max_job_time.total_seconds()),
        locked=owner.kind == "project",
        protected_only=pool.protected_only,
    )
