"""Which pool a pending job goes to: GitLab's own matching rule, first pool in the file wins."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from fleet.model import Job, JobStatus
from fleet.reasons import WITHOUT_POOL, Reason
from fleet.rules.image import Containers, why_unfit


class PoolRule(Protocol):
    """The part of a pool's configuration that routing reads."""

    @property
    def name(self) -> str: ...
    @property
    def tags(self) -> Sequence[str]: ...
    @property
    def run_untagged(self) -> bool: ...
    @property
    def overflow(self) -> str | None: ...
    @property
    def protected_only(self) -> bool: ...
    @property
    def backend(self) -> str: ...
    @property
    def executor(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """One job as GitLab shows it now."""

    tags: tuple[str, ...]
    status: JobStatus
    has_runner: bool = False
    outgrew: frozenset[str] = frozenset()  # pools in which a job of this name ran out of time
    containers: Containers = field(default_factory=Containers)  # as the last job of this name had
    is_protected: bool | None = None  # its branch or tag; None: not asked, or GitLab does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutePlan:
    """The pool of a job, or None with the reason why no pool runs it."""

    pool: str | None
    reason: Reason

    @property
    def is_job_waiting(self) -> bool:
        """Whether the job waits in GitLab: only then the plan is written into its row."""
        return self.reason not in {Reason.UNKNOWN_JOB, Reason.TAKEN, Reason.NOT_PENDING}


def may_take(pool: PoolRule, tags: Sequence[str]) -> bool:
    """Whether GitLab would hand a job with these tags to a runner of the pool.

    Source: GitLab docs, "Use tags to control which jobs a runner can run": every tag of the
    job must be a tag of the runner; a job without tags needs `run_untagged`.
    """
    return set(tags) <= set(pool.tags) if tags else pool.run_untagged


def may_serve(pool: PoolRule, job: Pending) -> bool:
    """Whether GitLab would hand this job to a runner of the pool, as far as it is known.

    Source: GitLab docs, "Protected runners": they get jobs of protected branches and tags only.
    """
    return may_take(pool, job.tags) and (not pool.protected_only or job.is_protected is True)


def hangs_on_protection(job: Pending, decide: Callable[[Pending], object]) -> bool:
    """Whether a decision is another one when the job's ref is protected: then GitLab is asked."""
    return decide(replace(job, is_protected=True)) != decide(replace(job, is_protected=False))


def why_ignored(row: Job | None, project_id: int) -> Reason | None:
    """Why an event that a job is pending changes nothing; None: the job is to be routed.

    `row`: the job's row; `project_id`: of the event. Hearsay in the row counts as no row.
    """
    if row is None or row.is_hearsay:
        return None
    if row.project_id != project_id:
        return Reason.FOREIGN
    if row.status <= JobStatus.PENDING and not row.pool:
        return None
    return Reason.STALE_EVENT if row.status is JobStatus.PENDING else Reason.TAKEN


def decide_route(job: Pending | None, pools: Sequence[PoolRule]) -> RoutePlan:
    """The first pool in file order that may serve the job, or its overflow when it is unfit.

    A job whose protection is not known goes where any job may go: an open pool serves it for sure.
    """
    if job is None:
        return RoutePlan(pool=None, reason=Reason.UNKNOWN_JOB)
    if job.status is JobStatus.RUNNING or job.has_runner:
        return RoutePlan(pool=None, reason=Reason.TAKEN)
    if job.status is not JobStatus.PENDING:
        return RoutePlan(pool=None, reason=Reason.NOT_PENDING)
    fitting = next((pool for pool in pools if may_serve(pool, job)), None)
    if fitting is None:
        return RoutePlan(pool=None, reason=_why_none(job, pools))
    return _overflowed(fitting, job, pools)


def decide_reroute(
    job: Pending, pool: str | None, pools: Sequence[PoolRule], *, because: Reason | None = None
) -> Reason | None:
    """Why a job that waits in `pool`, or in none, is routed again; None: it stays where it is.

    A pool that still fits keeps its jobs, also where another comes before it in the file by now,
    and also while GitLab does not say whether a job's ref is protected. A job without a pool is
    routed again also when it has none for another reason than `because`, which its row says.
    """
    if pool is None:
        plan = decide_route(job, pools)
        is_other = plan.reason in WITHOUT_POOL and plan.reason is not because
        return plan.reason if plan.pool is not None or is_other else None
    known = next((rule for rule in pools if rule.name == pool), None)
    if known is None:
        return Reason.POOL_GONE
    is_withheld = known.protected_only and job.is_protected is False
    return Reason.POOL_UNFIT if is_withheld or not may_take(known, job.tags) else None


def _why_none(job: Pending, pools: Sequence[PoolRule]) -> Reason:
    """Why no pool may serve it."""
    if any(may_take(pool, job.tags) for pool in pools):
        is_known = job.is_protected is not None
        return Reason.UNPROTECTED if is_known else Reason.PROTECTION_UNKNOWN
    return Reason.NO_POOL if job.tags else Reason.UNTAGGED


def _overflowed(fitting: PoolRule, job: Pending, pools: Sequence[PoolRule]) -> RoutePlan:
    """The pool itself, or where its overflow chain ends for a job that does not fit it."""
    by_name = {pool.name: pool for pool in pools}
    chosen, reason = fitting, Reason.ROUTED
    passed = {fitting.name}
    while (unfit := _unfit(chosen, job)) and chosen.overflow and chosen.overflow not in passed:
        roomier = by_name.get(chosen.overflow)
        if roomier is None or not may_serve(roomier, job):
            break
        passed.add(roomier.name)
        chosen, reason = roomier, unfit
    return RoutePlan(pool=chosen.name, reason=reason)


def _unfit(pool: PoolRule, job: Pending) -> Reason | None:
    """Why a job does not fit a pool that may serve it, as far as earlier jobs of its name say."""
    if pool.name in job.outgrew:
        return Reason.OVERFLOW
    return why_unfit(job.containers, executor=pool.executor, backend=pool.backend)


def outgrew(failure_reason: str | None, *, overflow: str | None) -> bool:
    """Whether a job's end says that its pool has too little time for it; `overflow`: the pool's.

    Source: GitLab's `failure_reason` of a job that reached its time-out.
    """
    return failure_reason == "job_execution_timeout" and overflow is not None
