"""Where a pending job goes: looked up, decided, recorded. Used by route and by reconcile."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from adapters.demand import Demand
from adapters.gitlab import GitLabJob
from adapters.job_rows import Step
from fleet.decide_route import (
    Pending,
    RoutePlan,
    decide_reroute,
    decide_route,
    hangs_on_protection,
)
from fleet.errors import Transient
from fleet.events import JobRouted, emit
from fleet.model import Job, JobKey, Status, rank
from fleet.reasons import Reason
from orchestrator.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """The decision, and the demand to send when there is one."""

    plan: RoutePlan
    demand: Demand | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedTogether:
    """The demands to send, and whether any of the jobs wants a runner, whoever routed it."""

    demands: tuple[Demand, ...] = ()
    waits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """What led to a job: the steps to tell, and what GitLab's answer does not say."""

    steps: tuple[Step, ...] = ()
    path: str = ""  # of its project
    instead_of: str | None = None  # the pool that it was routed to, and that it leaves


def route(world: World, found: GitLabJob | None, key: JobKey, lead: Lead) -> Routed:
    """Decide and record where a job goes."""
    at = world.clock()
    decide = partial(decide_route, pools=world.config.pools)
    pending = _pending(world, found, _outgrew(world, found), decide) if found else None
    plan = decide(pending)
    if found is None or plan.reason in {Reason.TAKEN, Reason.NOT_PENDING}:
        return Routed(plan=plan)
    job = _job(found, key, plan, path=lead.path, at=at)
    steps = [*lead.steps, *_told(plan, at)]
    if not world.jobs.route(job, steps, at=at, instead_of=lead.instead_of):
        return Routed(plan=RoutePlan(pool=None, reason=Reason.STALE_EVENT))
    _announce(job, at=at)
    return Routed(plan=plan, demand=_demand(job))


def route_together(world: World, found: Sequence[GitLabJob], lead: Lead) -> RoutedTogether:
    """Decide and record where many jobs of one project go that the ledger does not know yet.

    The demands are of those that nobody else routed meanwhile.
    """
    at = world.clock()
    by_key = {JobKey(instance=world.instance, job_id=one.id): one for one in found}
    known = world.jobs.jobs(by_key)
    unknown = {key: one for key, one in by_key.items() if key not in known}
    waits = any(job.wants_runner for job in known.values())
    if not unknown:
        return RoutedTogether(waits=waits)
    outgrown = world.jobs.fits.outgrown(world.instance, found[0].project_id)
    decide = partial(decide_route, pools=world.config.pools)
    jobs, steps = [], {}
    for key, one in unknown.items():
        try:
            pending = _pending(world, one, outgrown.get(one.name, frozenset()), decide)
        except Transient:
            continue  # its own event asks again, and must not keep the others waiting
        plan = decide(pending)
        if plan.reason not in {Reason.TAKEN, Reason.NOT_PENDING}:
            jobs.append(_job(one, key, plan, path=lead.path, at=at))
            steps[key] = [*lead.steps, *_told(plan, at)]
    routed = world.jobs.route_all(jobs, steps, at=at)
    for job in routed:
        _announce(job, at=at)
    demands = tuple(demand for job in routed if (demand := _demand(job)) is not None)
    return RoutedTogether(demands=demands, waits=waits or any(job.pool for job in jobs))


def send_demands(world: World, demands: Iterable[Demand]) -> None:
    """Put them on the queues of their pools' back ends."""
    by_backend: dict[str, list[Demand]] = {}
    for demand in demands:
        pool = world.pool(demand.pool)
        if pool is not None:
            by_backend.setdefault(pool.backend, []).append(demand)
    for backend, batch in by_backend.items():
        world.queues[backend].send(batch)


def again(world: World, found: GitLabJob, row: Job) -> Lead | None:
    """What leads to a job that was routed, where the configuration in force wants it elsewhere.

    A job that no pool may take any more leaves its pool, too: else it waits there for ever, and
    a pool that fits it later would not be found.
    """
    decide = partial(decide_reroute, pool=row.pool, pools=world.config.pools)
    try:
        reason = decide(_pending(world, found, frozenset(), decide))
    except Transient:
        return None  # asked again in a minute; meanwhile nothing keeps the others from their turn
    if reason is None:
        return None
    left = Step(at=world.clock(), step="left_pool", reason=reason, detail=row.pool)
    steps = (left,) if row.pool is not None else ()
    return Lead(steps=steps, path=row.project_path, instead_of=row.pool)


def fits_a_pool(world: World, job: Job) -> bool:
    """Whether a pool of the configuration in force fits a row that waits in none."""
    pending = Pending(tags=job.tags, status=job.status)
    return decide_reroute(pending, job.pool, world.config.pools) is not None


def _told(plan: RoutePlan, at: datetime) -> Iterator[Step]:
    """The decision as steps of the job's history."""
    yield Step(at=at, step="routed", reason=plan.reason, detail=plan.pool)
    if plan.pool is not None:
        yield Step(at=at, step="demand_sent", detail=f"attempt 1, pool {plan.pool}")


def _outgrew(world: World, found: GitLabJob) -> frozenset[str]:
    return world.jobs.fits.outgrew(world.instance, found.project_id, found.name)


def _pending(
    world: World,
    found: GitLabJob,
    outgrew: frozenset[str],
    decide: Callable[[Pending], object],
) -> Pending:
    """The job with what a decision hangs on; GitLab is asked for no more than that."""
    told = Pending(
        tags=found.tags,
        status=rank(found.status),
        has_runner=found.runner_id is not None,
        outgrew=outgrew,
    )
    if found.ref is None or not hangs_on_protection(told, decide):
        return told
    is_protected = world.gitlab.is_protected(found.project_id, found.ref, is_tag=found.is_tag)
    return replace(told, is_protected=is_protected)


def _demand(job: Job) -> Demand | None:
    if job.pool is None:
        return None
    return Demand(job=job.key, project_id=job.project_id, pool=job.pool, attempt=1)


def _announce(job: Job, *, at: datetime) -> None:
    emit(
        JobRouted(
            job_id=job.job_id,
            project_id=job.project_id,
            pool=job.pool,
            reason=job.reason or Reason.ROUTED,
            waited_s=(at - job.pending_at).total_seconds(),
        )
    )


def _job(found: GitLabJob, key: JobKey, plan: RoutePlan, *, path: str, at: datetime) -> Job:
    return Job(
        key=key,
        project_id=found.project_id,
        project_path=path,
        name=found.name,
        tags=found.tags,
        status=Status.PENDING,
        outcome=None,
        pending_at=_pending_since(found, at),
        pool=plan.pool,
        reason=plan.reason,
        pipeline_id=found.pipeline_id,
    )


def _pending_since(found: GitLabJob, at: datetime) -> datetime:
    """GitLab tells how long a job has waited, and not since when."""
    if found.queued_duration_s is None:
        return at
    return at - timedelta(seconds=found.queued_duration_s)
