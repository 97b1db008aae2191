"""Where a pending job goes: looked up, decided, recorded. Used by route and by reconcile."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from adapters.aws.demand import Demand
from adapters.gitlab.client import GitLabJob
from adapters.ledger.pipelines import Reading
from fleet.errors import Transient
from fleet.events import JobRouted, emit
from fleet.job_event import JobEvent
from fleet.model import Job, JobKey, JobStatus, rank
from fleet.reasons import Reason
from fleet.rules.route import (
    Pending,
    RoutePlan,
    decide_reroute,
    decide_route,
    hangs_on_protection,
)
from fleet.steps import Step, StepName
from orchestrator.watch import note_proof
from orchestrator.world import World

# Ten pages of GitLab's; the rest of a larger pipeline is found by its own webhooks.
PIPELINE_AT_MOST = 1000
# Reading a pipeline takes about a second.
LOOK_AGAIN_S = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteAnswer:
    """What the state machine is to do next.

    `wake`: a job waits in a pool, this one or another of its pipeline, and scaling may not have
    looked since. `again_in_s`: call again after so long, nothing is decided yet.
    """

    reason: Reason
    wake: bool = False
    again_in_s: int | None = None


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


def route_event(world: World, told: JobEvent) -> RouteAnswer:
    """A pending job as GitLab knows it now: the payload has no tags, and may be old.

    Keys carry the GitLab of fleet.toml, however the event spells it: an address that only GitLab
    itself uses, say. The delivery was proven to be its own.

    The wake does not depend on who routed whom. Whoever finds a job routed and without a runner
    wakes: a try after a crash anywhere in here sees what the one before it left, and no more.
    """
    at = world.clock()
    world.fleet.heard_from(world.instance, told.project_id, told.project_path, at=at)
    note_proof(world, told)
    key = JobKey(instance=world.instance, job_id=told.job_id)
    steps = (
        Step(at=told.received_at, name=StepName.WEBHOOK_RECEIVED, delivery_id=told.delivery_id),
        Step(at=at, name=StepName.EVENT, detail=told.detail_type),
    )
    facts = {"deploys": True} if told.deploys else {}
    known = world.jobs.job(key)
    if known is not None and (known.status > JobStatus.PENDING or known.pool):
        reason = _told_before(known)
        world.jobs.tell(key, [*steps, Step(at=at, name=StepName.IGNORED, reason=reason)], **facts)
        return RouteAnswer(reason=reason, wake=known.wants_runner or _owes_wake(world, told))
    reading = world.fleet.claim_pipeline(told.instance, told.pipeline_id, at=at)
    if reading is Reading.UNDER_WAY:
        return RouteAnswer(reason=Reason.UNDER_WAY, again_in_s=LOOK_AGAIN_S)
    # Before the job itself: should this fail, the next try still finds it unrouted.
    listed = _route_its_pipeline(world, told) if reading is Reading.MINE else None
    found = listed or world.gitlab.job(told.project_id, told.job_id)
    routed = route(world, found, key, Lead(steps=steps, path=told.project_path))
    if facts:
        world.jobs.tell(key, [], **facts)
    if routed.demand is not None:
        send_demands(world, [routed.demand])
    # A stale one was routed by somebody else while we looked.
    is_waiting = routed.demand is not None or routed.plan.reason is Reason.STALE_EVENT
    return RouteAnswer(reason=routed.plan.reason, wake=is_waiting or _owes_wake(world, told))


def _route_its_pipeline(world: World, told: JobEvent) -> GitLabJob | None:
    """Route all other jobs of its pipeline that wait; the job itself, where GitLab lists it.

    A pipeline's first webhook comes when many more are on their way. Reading all that waits costs
    GitLab as much as reading one job, and the whole burst is launched for at once.
    """
    step = Step(at=world.clock(), name=StepName.FOUND, job_id=told.job_id)
    read = waits = False
    try:
        listed = world.gitlab.pending_in_pipeline(
            told.project_id, told.pipeline_id, at_most=PIPELINE_AT_MOST
        )
        others = [job for job in listed if job.id != told.job_id]
        together = route_together(world, others, Lead(steps=(step,), path=told.project_path))
        send_demands(world, together.demands)
        read, waits = True, together.waits
    finally:
        world.fleet.note_pipeline(told.instance, told.pipeline_id, read=read, waits=waits)
    return next((job for job in listed if job.id == told.job_id), None)


def _owes_wake(world: World, told: JobEvent) -> bool:
    return world.fleet.owes_wake(told.instance, told.pipeline_id, at=world.clock())


def _told_before(known: Job) -> Reason:
    """A duplicate or late delivery: the first one did all there is to do."""
    return Reason.STALE_EVENT if known.status is JobStatus.PENDING else Reason.TAKEN


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
    pools = world.config.pools
    decide = partial(decide_reroute, pool=row.pool, pools=pools, because=row.reason)
    try:
        reason = decide(_pending(world, found, frozenset(), decide))
    except Transient:
        return None  # asked again in a minute; meanwhile nothing keeps the others from their turn
    if reason is None:
        return None
    left = Step(at=world.clock(), name=StepName.LEFT_POOL, reason=reason, pool=row.pool)
    steps = (left,) if row.pool is not None else ()
    return Lead(steps=steps, path=row.project_path, instead_of=row.pool)


def fits_a_pool(world: World, job: Job) -> bool:
    """Whether a pool of the configuration in force fits a row that waits in none."""
    pending = Pending(tags=job.tags, status=job.status)
    return decide_route(pending, world.config.pools).pool is not None


def _told(plan: RoutePlan, at: datetime) -> Iterator[Step]:
    """The decision as steps of the job's history."""
    yield Step(at=at, name=StepName.ROUTED, reason=plan.reason, pool=plan.pool)
    if plan.pool is not None:
        yield Step(at=at, name=StepName.DEMAND_SENT, attempt=1, pool=plan.pool)


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
        status=JobStatus.PENDING,
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
