"""Where a pending job goes: looked up, decided, recorded. Used by route and by reconcile."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from adapters.aws.demand import Demand
from adapters.gitlab.values import GitLabJob
from adapters.ledger.fits import Fit
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
    why_ignored,
)
from fleet.steps import Step, StepName
from orchestrator.hook_reach import is_within_reach
from orchestrator.hooks import note_proof
from orchestrator.world import World

# Ten pages of GitLab's; the rest of a larger pipeline arrives by its own webhooks.
PIPELINE_AT_MOST = 1000
# Reading a pipeline takes about a second.
LOOK_AGAIN_S = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteResult:
    """What the state machine is to do next.

    `wake`: a job of this pipeline waits in a pool, and scaling may not have observed that yet.
    `again_in_s`: nothing is decided yet, call again after this wait.
    """

    reason: Reason
    wake: bool = False
    again_in_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """The decision, and the demand to send when there is one."""

    plan: RoutePlan
    demand: Demand | None = None
    is_recorded: bool = False  # by this call, in the job's row


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedTogether:
    """The demands to send, and whether any of the jobs wants a runner, also one routed before."""

    demands: tuple[Demand, ...] = ()
    waits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteCause:
    """Why a job is routed now: steps for its history, and facts that GitLab's answer lacks."""

    steps: tuple[Step, ...] = ()
    path: str = ""  # of its project, where GitLab's answer has none: an event may say anything
    instead_of: str | None = None  # the pool that it leaves
    despite: Job | None = None  # its row, which GitLab's list proves wrong


def route_event(world: World, event: JobEvent) -> RouteResult:
    """Route a pending job as GitLab shows it now: the event has no tags, and may be old.

    Keys have the GitLab of fleet.toml, also where the event has another address of it. The
    delivery was verified as that GitLab's own.

    Every call that meets a routed job without a runner wakes scaling, whichever call routed it: so
    another try completes what a crash anywhere in here left undone.
    """
    at = world.clock()
    if not is_within_reach(world, event):
        return RouteResult(reason=Reason.OUTSIDE)
    world.fleet.note_project_delivery(world.instance, event.project_id, event.project_path, at=at)
    note_proof(world, event)
    key = JobKey(instance=world.instance, job_id=event.job_id)
    steps = (
        Step(
            at=event.received_at,
            name=StepName.WEBHOOK_RECEIVED,
            delivery_id=event.delivery_id,
            detail=event.status,
        ),
        Step(at=at, name=StepName.EVENT, detail=event.detail_type),
    )
    facts = {"deploys": True} if event.deploys else {}
    known = world.jobs.job(key)
    reason = why_ignored(known, event.project_id)
    if reason is Reason.FOREIGN:
        return RouteResult(reason=reason)
    if known is not None and reason is not None:
        world.jobs.extend(key, [*steps, Step(at=at, name=StepName.IGNORED, reason=reason)], **facts)
        return RouteResult(reason=reason, wake=known.wants_runner or _owes_wake(world, event))
    reading = world.fleet.claim_pipeline(world.instance, event.pipeline_id, at=at)
    if reading is Reading.UNDER_WAY:
        return RouteResult(reason=Reason.UNDER_WAY, again_in_s=LOOK_AGAIN_S)
    # Before the job itself: should this fail, the next try still finds it unrouted.
    listed = _route_its_pipeline(world, event) if reading is Reading.MINE else None
    shown = listed or world.gitlab.job(event.project_id, event.job_id)
    routed = route(world, shown, key, RouteCause(steps=steps, path=event.project_path))
    if facts:
        world.jobs.extend(key, [], **facts)
    if routed.demand is not None:
        send_demands(world, [routed.demand])
    # A stale one was routed by another call after this one read its row.
    is_waiting = routed.demand is not None or routed.plan.reason is Reason.STALE_EVENT
    return RouteResult(reason=routed.plan.reason, wake=is_waiting or _owes_wake(world, event))


def _route_its_pipeline(world: World, event: JobEvent) -> GitLabJob | None:
    """Route all other pending jobs of the event's pipeline; its own job, where GitLab lists it.

    A pipeline's first webhook precedes many more. To read all pending jobs costs GitLab as much as
    to read one, and scaling launches for the whole burst at once.
    """
    step = Step(at=world.clock(), name=StepName.PIPELINE_READ, job_id=event.job_id)
    is_read = waits = False
    try:
        listed = world.gitlab.pending_in_pipeline(
            event.project_id, event.pipeline_id, at_most=PIPELINE_AT_MOST
        )
        others = [job for job in listed if job.id != event.job_id]
        together = route_together(world, others, RouteCause(steps=(step,), path=event.project_path))
        send_demands(world, together.demands)
        is_read, waits = True, together.waits
    finally:
        world.fleet.note_pipeline(world.instance, event.pipeline_id, read=is_read, waits=waits)
    return next((job for job in listed if job.id == event.job_id), None)


def _owes_wake(world: World, event: JobEvent) -> bool:
    return world.fleet.owes_wake(world.instance, event.pipeline_id, at=world.clock())


def route(world: World, shown: GitLabJob | None, key: JobKey, cause: RouteCause) -> Routed:
    """Decide and record where a job goes.

    `shown`: the job as GitLab shows it; None where GitLab has no such job.
    """
    at = world.clock()
    decide = partial(decide_route, pools=world.config.pools)
    pending = _pending(world, shown, _fit(world, shown), decide) if shown else None
    plan = decide(pending)
    if shown is None or not plan.is_job_waiting:
        return Routed(plan=plan)
    job = _job(world, shown, key, plan, cause)
    steps = [*cause.steps, *_steps(plan, at)]
    if not world.jobs.route(job, steps, at=at, instead_of=cause.instead_of, despite=cause.despite):
        return Routed(plan=RoutePlan(pool=None, reason=Reason.STALE_EVENT))
    _announce(job, at=at)
    return Routed(plan=plan, demand=_demand(job), is_recorded=True)


def route_together(world: World, shown: Sequence[GitLabJob], cause: RouteCause) -> RoutedTogether:
    """Decide and record where many jobs of one project go that the ledger does not know yet.

    The demands are only for the jobs that this call routed.
    """
    at = world.clock()
    by_key = {JobKey(instance=world.instance, job_id=job.id): job for job in shown}
    known = world.jobs.jobs(by_key)
    unknown = {key: job for key, job in by_key.items() if key not in known}
    waits = any(job.wants_runner for job in known.values())
    if not unknown:
        return RoutedTogether(waits=waits)
    fits = world.jobs.fits.of_project(world.instance, shown[0].project_id, at=at)
    decide = partial(decide_route, pools=world.config.pools)
    jobs, steps = [], {}
    for key, job in unknown.items():
        try:
            pending = _pending(world, job, fits.get(job.name, Fit()), decide)
        except Transient:
            continue  # its own event asks again
        plan = decide(pending)
        if plan.is_job_waiting:
            jobs.append(_job(world, job, key, plan, cause))
            steps[key] = [*cause.steps, *_steps(plan, at)]
    routed = world.jobs.route_all(jobs, steps, at=at)
    for row in routed:
        _announce(row, at=at)
    demands = tuple(demand for row in routed if (demand := _demand(row)) is not None)
    return RoutedTogether(demands=demands, waits=waits or any(row.pool for row in jobs))


def send_demands(world: World, demands: Iterable[Demand]) -> None:
    """Put demands on the queues of their pools' back ends."""
    by_backend: dict[str, list[Demand]] = {}
    for demand in demands:
        pool = world.pool(demand.pool)
        if pool is not None:
            by_backend.setdefault(pool.backend, []).append(demand)
    for backend, batch in by_backend.items():
        world.queues[backend].send(batch)


def reroute_cause(world: World, shown: GitLabJob, row: Job) -> RouteCause | None:
    """Why a routed job is routed again; None where the configuration in force leaves it there.

    A job that no pool may take leaves its pool, too. Otherwise it waits there for ever, and a
    later pool that fits does not get it.
    """
    pools = world.config.pools
    decide = partial(decide_reroute, pool=row.pool, pools=pools, because=row.reason)
    try:
        reason = decide(_pending(world, shown, Fit(), decide))
    except Transient:
        return None  # the next pass asks again; the other jobs go on
    if reason is None:
        return None
    left = Step(at=world.clock(), name=StepName.LEFT_POOL, reason=reason, pool=row.pool)
    steps = (left,) if row.pool is not None else ()
    return RouteCause(steps=steps, path=row.project_path, instead_of=row.pool)


def fits_a_pool(world: World, job: Job) -> bool:
    """Whether a pool of the configuration in force fits a row that waits in none."""
    pending = Pending(tags=job.tags, status=job.status)
    return decide_route(pending, world.config.pools).pool is not None


def _steps(plan: RoutePlan, at: datetime) -> Iterator[Step]:
    """The decision as steps of the job's history."""
    yield Step(at=at, name=StepName.ROUTED, reason=plan.reason, pool=plan.pool)
    if plan.pool is not None:
        yield Step(at=at, name=StepName.DEMAND_SENT, attempt=1, pool=plan.pool)


def _fit(world: World, shown: GitLabJob) -> Fit:
    name, at = shown.name, world.clock()
    return world.jobs.fits.of(world.instance, shown.project_id, name, at=at)


def _pending(
    world: World,
    shown: GitLabJob,
    fit: Fit,
    decide: Callable[[Pending], object],
) -> Pending:
    """The facts of a decision. GitLab is asked about protection where that changes it."""
    pending = Pending(
        tags=shown.tags,
        status=rank(shown.status),
        has_runner=shown.runner_id is not None,
        outgrew=fit.outgrew,
        containers=fit.containers,
    )
    if shown.ref is None or not hangs_on_protection(pending, decide):
        return pending
    is_protected = world.gitlab.is_protected(shown.project_id, shown.ref, is_tag=shown.is_tag)
    return replace(pending, is_protected=is_protected)


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


def _job(world: World, shown: GitLabJob, key: JobKey, plan: RoutePlan, cause: RouteCause) -> Job:
    return Job(
        key=key,
        project_id=shown.project_id,
        project_path=shown.project_path(world.config.gitlab.url) or cause.path,
        name=shown.name,
        tags=shown.tags,
        status=JobStatus.PENDING,
        outcome=None,
        pending_at=_pending_since(shown, world.clock()),
        pool=plan.pool,
        reason=plan.reason,
        pipeline_id=shown.pipeline_id,
    )


def _pending_since(shown: GitLabJob, at: datetime) -> datetime:
    """When the job began to wait: GitLab shows for how long, and not since when."""
    if shown.queued_duration_s is None:
        return at
    return at - timedelta(seconds=shown.queued_duration_s)
