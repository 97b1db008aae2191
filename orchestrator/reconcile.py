"""GitLab's pending jobs against the ledger, once a minute: webhooks are hints, this is truth."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import takewhile

from adapters.aws.demand import Demand
from adapters.gitlab.values import GitLabJob
from fleet.errors import FleetError, Refused
from fleet.events import WARNING, Reconciled, WorkPutOff, emit
from fleet.hook_scope import HookScope
from fleet.model import Job, JobKey, JobStatus
from fleet.reasons import Reason
from fleet.rules.calls import decide_pass, is_project_gone, polls_at_most
from fleet.rules.fairness import fair_order
from fleet.rules.polls import Watched, decide_polls
from fleet.rules.reconcile import decide_reconcile, is_applied_lately, is_contradicted
from fleet.steps import Step, StepName
from orchestrator.attempts import renew
from orchestrator.gitlab_token import check_token_life
from orchestrator.hooks import check_hooks, check_hooks_of
from orchestrator.job_ends import learn_and_retry, record_shown
from orchestrator.job_runner import runner_of
from orchestrator.measure import measure
from orchestrator.pool_tokens import show_presence
from orchestrator.retry import finish_retries
from orchestrator.route import RouteCause, fits_a_pool, reroute_cause, route, send_demands
from orchestrator.watched_projects import refresh_watched
from orchestrator.world import World

# Of one project's pending jobs, in hundreds: one call each. A backlog of tens of thousands would
# take more than the minute's calls, and longer than this function may run.
LISTED_AT_MOST = 2000
# Jobs without news for long: one call each.
DUE_AT_MOST = 50
# With less time than this no call begins: one to GitLab may take ten seconds.
TO_END_S = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileResult:
    """What one pass over some projects corrected."""

    projects: int
    routed: int  # jobs whose webhook was lost
    looked_up: int
    wake: bool  # the autoscaler has, or may have, something to do


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pass:
    """The state of one pass."""

    has_time: Callable[[], bool]
    waiting: defaultdict[int, dict[JobKey, Job]]  # rows by project
    hooks: set[HookScope] = field(default_factory=set)  # scopes of webhooks that this pass checked
    unseen: list[Job] = field(default_factory=list)  # rows to look up when all projects are read
    missed: list[JobKey] = field(default_factory=list)  # pending jobs whose webhook was lost
    demands: list[Demand] = field(default_factory=list)  # of the jobs routed or renewed


def reconcile(world: World, time_left_s: Callable[[], float]) -> ReconcileResult:
    """Correct the ledger by the pending jobs of as many projects as time and calls allow.

    `time_left_s` gives the seconds that this invocation may still run. Short and urgent work comes
    first, the list of projects last; the next minute's pass does the rest.
    """

    def has_time() -> bool:
        return time_left_s() >= TO_END_S

    show_presence(world, has_time)
    finish_retries(world, has_time)
    waiting = _waiting_by_project(world)
    pass_ = _Pass(has_time=has_time, waiting=waiting)
    done = _read_projects(world, pass_)
    check_hooks(world, has_time, pass_.hooks)
    refresh_watched(world, has_time)
    if has_time():
        check_token_life(world)
    if done.routed or done.looked_up:
        emit(Reconciled(projects=done.projects, routed=done.routed, looked_up=done.looked_up))
    measure(world, [job for rows in waiting.values() for job in rows.values()])
    is_busy = pass_.missed or done.looked_up or pass_.demands or any(waiting.values())
    return replace(done, wake=bool(is_busy) or _is_in_use(world))


def _read_projects(world: World, pass_: _Pass) -> ReconcileResult:
    """Correct one project after the other, most urgent first, until the rule stops the pass."""
    at = world.clock()
    projects_read = routed = failures = 0
    for project in _polls(world, pass_):
        if not pass_.has_time():
            break
        try:
            routed_here = _correct(world, project, pass_)
        except FleetError as exc:
            doing = f"project {project.project_id}"
            emit(WorkPutOff(doing=doing, error=str(exc)), level=WARNING)
            # Otherwise it stays the longest unread, and the first of every pass.
            world.fleet.note_polled(project.instance, project.project_id, at=at)
            if is_project_gone(exc):
                pass_.unseen.extend(pass_.waiting[project.project_id].values())
            plan = decide_pass(exc, failures=failures)
            failures = plan.failures
            if plan.stop is not None:
                break
            continue
        projects_read, routed = projects_read + 1, routed + routed_here
    pass_.unseen.extend(_due(world))
    looked_up = _look_up_unseen(world, pass_)
    return ReconcileResult(projects=projects_read, routed=routed, looked_up=looked_up, wake=False)


def _polls(world: World, pass_: _Pass) -> tuple[Watched, ...]:
    """The projects to read in this pass."""
    moving = _moving(world, pass_.waiting)
    known = world.fleet.watched(world.instance)
    watched = (replace(project, is_moving=project.project_id in moving) for project in known)
    at_most = polls_at_most(world.config.gitlab.calls_per_minute)
    return decide_polls(watched, at=world.clock(), at_most=at_most)


def _is_in_use(world: World) -> bool:
    """Whether the fleet has or wants a runner: a quiet fleet's scaling is not woken."""
    return (
        any(pool.idle.count or pool.idle.schedule for pool in world.config.pools)
        or any(world.fleet.shown_pool(pool.name).in_use for pool in world.config.pools)
        or any(queue.depth() or queue.dead() for queue in world.queues.values())
    )


def _moving(world: World, waiting: Mapping[int, Mapping[JobKey, Job]]) -> frozenset[int]:
    """The projects with jobs that the last `apply` moves: they are read before others."""
    names = {pool.name for pool in world.config.pools}
    moving = {
        project_id
        for project_id, rows in waiting.items()
        if any(job.pool not in names for job in rows.values())
    }
    if is_applied_lately(world.applied_at, world.clock()):
        moving |= {
            job.project_id
            for job in world.jobs.unpooled(world.instance)
            if job.status is JobStatus.PENDING and fits_a_pool(world, job)
        }
    return frozenset(moving)


def _waiting_by_project(world: World) -> defaultdict[int, dict[JobKey, Job]]:
    """The rows that wait, by project, also those in pools that `apply` removed."""
    rows: defaultdict[int, dict[JobKey, Job]] = defaultdict(dict)
    for pool in (*(pool.name for pool in world.config.pools), *world.removed):
        for job in world.jobs.waiting_in(pool):
            rows[job.project_id][job.key] = job
    return rows


def _correct(world: World, project: Watched, pass_: _Pass) -> int:
    """Correct one project, its webhook too, and note what must be looked up.

    How many jobs were routed whose webhook was lost; another call may have routed one meanwhile.
    """
    at = world.clock()
    pending = world.gitlab.pending_jobs(project.project_id, at_most=LISTED_AT_MOST)
    listed = {JobKey(instance=project.instance, job_id=job.id): job for job in pending}
    waiting = pass_.waiting[project.project_id]
    if len(pending) >= LISTED_AT_MOST:
        # GitLab has older ones that are not listed. It gives those away first: their turn comes.
        oldest = min(listed)
        waiting = {key: row for key, row in waiting.items() if key >= oldest}
    rows = waiting | world.jobs.jobs(key for key in listed if key not in waiting)
    # The index of waiting jobs does not have under which `apply` they were given up.
    rows |= world.jobs.jobs(key for key, row in rows.items() if row.given_up and key in listed)
    fix = decide_reconcile(listed, rows, at=at, applied=world.applied)
    step = Step(at=at, name=StepName.RECONCILE_FOUND, reason=Reason.WEBHOOK_LOST)
    lost = RouteCause(steps=(step,), path=project.path)
    causes = dict.fromkeys(fix.route, lost) | _misplaced(world, listed, rows)
    causes |= {
        key: _despite(project, rows[key], at=at)
        for key in fix.route
        if key in rows and is_contradicted(rows[key], at)
    }
    routed = {key: route(world, listed[key], key, cause) for key, cause in causes.items()}
    renewed = renew(world, [rows[key] for key in fix.renew])
    demands = renewed + [each.demand for each in routed.values() if each.demand is not None]
    pass_.demands.extend(demands)
    send_demands(world, demands)
    pass_.unseen.extend(rows[key] for key in fix.look_up)
    world.fleet.note_polled(project.instance, project.project_id, at=at)
    pass_.missed.extend(fix.route)
    if fix.route or not project.hook_healthy:
        check_hooks_of(world, project.project_id, pass_.hooks)
    return sum(routed[key].is_recorded for key in fix.route)


def _despite(project: Watched, row: Job, *, at: datetime) -> RouteCause:
    """Why a job is routed that its row shows as taken or over: events alone said so."""
    step = Step(at=at, name=StepName.RECONCILE_FOUND, reason=Reason.STILL_PENDING)
    return RouteCause(steps=(step,), path=project.path, despite=row)


def _misplaced(
    world: World, listed: Mapping[JobKey, GitLabJob], rows: Mapping[JobKey, Job]
) -> dict[JobKey, RouteCause]:
    """Jobs that wait where the configuration in force does not want them."""
    waiting = {key: rows[key] for key in listed if key in rows}
    causes = {
        key: reroute_cause(world, listed[key], job)
        for key, job in waiting.items()
        if job.status is JobStatus.PENDING
    }
    return {key: cause for key, cause in causes.items() if cause is not None}


def _look_up_unseen(world: World, pass_: _Pass) -> int:
    """Look up the jobs that only the ledger shows as waiting, and due ones; how many it looked up.

    A cancelled pipeline of thousands whose webhooks were lost takes minutes: projects take turns.
    """
    looked_up = failures = 0
    for job in takewhile(lambda _: pass_.has_time(), fair_order(pass_.unseen, {})):
        try:
            _look_up(world, job)
        except FleetError as exc:
            emit(WorkPutOff(doing=f"look up job {job.job_id}", error=str(exc)), level=WARNING)
            if isinstance(exc, Refused):  # else it stays the first
                world.jobs.looks.put_off(job.key, at=world.clock())
            plan = decide_pass(exc, failures=failures)
            failures = plan.failures
            if plan.stop is not None:
                break
            continue
        looked_up += 1
    return looked_up


def _due(world: World) -> list[Job]:
    """Jobs without news for long: on other runners, on dead machines, in no pool."""
    at = world.clock()
    keys = world.jobs.looks.due(world.instance, at=at, at_most=DUE_AT_MOST)
    return [job for job in world.jobs.jobs(keys).values() if job.status < JobStatus.FINISHED]


def _look_up(world: World, job: Job) -> None:
    """Ask GitLab for one job, record its status, and retry it where its machine failed it."""
    shown = world.gitlab.job(job.project_id, job.job_id)
    runner = runner_of(
        world,
        job,
        description=shown.runner_description if shown else None,
        record_id=shown.runner_id if shown else None,
    )
    recorded = record_shown(world, job, shown, runner)
    if recorded.ended is not None:
        learn_and_retry(world, recorded.ended, recorded.failure_reason)
    if recorded.status <= job.status:
        world.jobs.looks.put_off(job.key, at=world.clock())
