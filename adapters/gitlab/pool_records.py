"""A pool's own runner record in GitLab, as it should be."""

from adapters.gitlab.client import NewRunner
from fleet.config.reading import PoolConfig, RunnersIn


def record_name(pool: str) -> str:
    """What GitLab shows for it."""
    return f"fleet pool {pool}"


def wanted_record(pool: PoolConfig, place: RunnersIn) -> NewRunner:
    """The record of a pool in the place where it is made."""
    return NewRunner(
        kind=f"{place.kind}_type",
        owner_id=place.id,
        description=record_name(pool.name),
        tags=pool.tags,
        run_untagged=pool.run_untagged,
        maximum_timeout_s=int(pool.max_job_time.total_seconds()),
        locked=place.kind == "project",
        protected_only=pool.protected_only,
    )
