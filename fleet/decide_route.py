"""Which pool a pending job goes to: GitLab's own matching rule, first pool in the file wins."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fleet.model import Status
from fleet.reasons import Reason


class PoolRule(Protocol):
    """What routing needs to know of a pool's configuration."""

    @property
    def name(self) -> str: ...
    @property
    def tags(self) -> Sequence[str]: ...
    @property
    def run_untagged(self) -> bool: ...
    @property
    def overflow(self) -> str | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """One job as GitLab answers for it now."""

    tags: tuple[str, ...]
    status: Status
    has_runner: bool = False
    outgrew: frozenset[str] = frozenset()  # pools in which a job of this name ran out of time


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutePlan:
    """The pool that shall run it, or None with the reason why none will."""

    pool: str | None
    reason: Reason


def may_take(pool: PoolRule, tags: Sequence[str]) -> bool:
    """Whether GitLab would hand a job with these tags to a runner of the pool.

    Source: GitLab docs, "Use tags to control which jobs a runner can run": every tag of the
    job must be a tag of the runner; a job without tags needs `run_untagged`.
    """
    return set(tags) <= set(pool.tags) if tags else pool.run_untagged


def decide_route(job: Pending | None, pools: Sequence[PoolRule]) -> RoutePlan:
    """The first pool in file order that may take the job, or its overflow when it outgrew it."""
    if job is None:
        return RoutePlan(pool=None, reason=Reason.UNKNOWN_JOB)
    if job.status is Status.RUNNING or job.has_runner:
        return RoutePlan(pool=None, reason=Reason.TAKEN)
    if job.status is not Status.PENDING:
        return RoutePlan(pool=None, reason=Reason.NOT_PENDING)
    fitting = next((pool for pool in pools if may_take(pool, job.tags)), None)
    if fitting is None:
        return RoutePlan(pool=None, reason=Reason.NO_POOL if job.tags else Reason.UNTAGGED)
    return _overflowed(fitting, job, pools)


def decide_reroute(job: Pending, pool: str | None, pools: Sequence[PoolRule]) -> Reason | None:
    """Why a job that waits in `pool`, or in none, is routed again; None: it stays where it is.

    A pool that still fits keeps its jobs, also where another comes before it in the file by now.
    """
    if pool is None:
        plan = decide_route(job, pools)
        return plan.reason if plan.pool is not None else None
    known = next((one for one in pools if one.name == pool), None)
    if known is None:
        return Reason.POOL_GONE
    return None if may_take(known, job.tags) else Reason.POOL_UNFIT


def _overflowed(fitting: PoolRule, job: Pending, pools: Sequence[PoolRule]) -> RoutePlan:
    """The pool itself, or where its overflow chain ends for a job that outgrew it."""
    by_name = {pool.name: pool for pool in pools}
    chosen, reason = fitting, Reason.ROUTED
    passed = {fitting.name}
    while chosen.name in job.outgrew and chosen.overflow and chosen.overflow not in passed:
        roomier = by_name.get(chosen.overflow)
        if roomier is None or not may_take(roomier, job.tags):
            break
        passed.add(roomier.name)
        chosen, reason = roomier, Reason.OVERFLOW
    return RoutePlan(pool=chosen.name, reason=reason)
