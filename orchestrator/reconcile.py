"""GitLab's pending jobs against the ledger, once a minute: webhooks are hints, this is truth."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import takewhile

from adapters.aws.demand import Demand
from adapters.gitlab.client import GitLabJob
from fleet.errors import FleetError, Refused
from fleet.events import WARNING, GitLabRefused, Reconciled, emit
from fleet.hook_scope import HookScope
from fleet.model import Job, JobKey, JobStatus
from fleet.reasons import Reason
from fleet.rules.fairness import fair_order
from fleet.rules.reconcile import Watched, decide_polls, decide_reconcile
from fleet.steps import Step, StepName
from orchestrator.attempts import renew
from orchestrator.job_ends import record_seen
from orchestrator.retry import finish_retries, retry_if_infra
from orchestrator.route import Lead, again, fits_a_pool, route, send_demands
from orchestrator.settle import runner_of
from orchestrator.watch import (
    heal_hook,
    look_at_hooks,
    look_at_token,
    refresh_watched,
    show_presence,
)
from orchestrator.world import World

# After so many projects that GitLab did not answer for, the pass ends.
FAILURES_AT_MOST = 3
# Of one project's pending jobs, in hundreds: one call each. A backlog of tens of thousands would
# take more than the minute's calls, and longer than this function may run.
LISTED_AT_MOST = 2000
GONE = 404  # a project that was deleted, with its jobs, or that is hidden from us now
# Of the jobs whose end nobody told for long: one call each.
DUE_AT_MOST = 50
# Jobs that a pool of the last `apply` fits by now are looked for so long after it.
APPLIED_LATELY = timedelta(minutes=5)
# With less time than this nothing more is begun: one call to GitLab may take ten seconds.
TO_END_S = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileResult:
    """What one pass over some projects set right."""

    projects: int
    routed: int
    looked_up: int
    wake: bool  # the autoscaler has, or may have, something to do


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pass:
    """What one pass carries along."""

    has_time: Callable[[], bool]
    waiting: defaultdict[int, dict[JobKey, Job]]  # rows by project
    healed: set[HookScope] = field(default_factory=set)  # scopes of hooks that were looked at
    unseen: list[Job] = field(default_factory=list)  # rows to look up when all projects are read
    demands: list[Demand] = field(default_factory=list)  # of jobs routed, whatever failed later


def reconcile(world: World, time_left_s: Callable[[], float]) -> ReconcileResult:
    """Read the pending jobs of as many watched projects as time and budget allow, and correct.

    `time_left_s` tells how long this invocation may still run: what is short and cannot wait comes
    first, the list of projects last, and whatever is left out has its turn next minute.
    """

    def has_time() -> bool:
        return time_left_s() >= TO_END_S

    show_presence(world, has_time)
    finish_retries(world, has_time)
    waiting = _waiting_by_project(world)
    this = _Pass(has_time=has_time, waiting=waiting)
    done = _read_projects(world, this)
    look_at_hooks(world, has_time, this.healed)
    refresh_watched(world, has_time)
    if has_time():
        look_at_token(world)
    if done.routed or done.looked_up:
        calls = done.routed + done.looked_up + done.projects
        emit(
            Reconciled(
                projects=done.projects,
                routed=done.routed,
                looked_up=done.looked_up,
                gitlab_calls=calls,
            )
        )
    is_busy = done.routed or done.looked_up or this.demands or any(waiting.values())
    return replace(done, wake=bool(is_busy) or _is_alive(world))


def _read_projects(world: World, this: _Pass) -> ReconcileResult:
    """One project after the other, most urgent first, as long as GitLab answers well."""
    at = world.clock()
    read = routed = failures = 0
    for one in _polls(world, this):
        if not this.has_time():
            break
        try:
            found = _project(world, one, this)
            if found or not one.hook_healthy:
                heal_hook(world, one.project_id, this.healed)
        except FleetError as exc:
            emit(GitLabRefused(doing=f"project {one.project_id}", error=str(exc)), level=WARNING)
            # Else it would be the longest unread for ever, and the first of every round.
            world.fleet.note_polled(one.instance, one.project_id, at=at)
            if exc.facts.get("status") == GONE:
                this.unseen.extend(this.waiting[one.project_id].values())
            if "retry_after_s" in exc.facts:
                break  # GitLab asks for a pause: the rest has its turn next minute
            failures += not isinstance(exc, Refused)
            if failures == FAILURES_AT_MOST:
                break  # GitLab itself is not well, and each try may take its whole time-out
            continue
        read, routed = read + 1, routed + found
    this.unseen.extend(_due(world))
    return ReconcileResult(
        projects=read, routed=routed, looked_up=_look_up_unseen(world, this), wake=False
    )


def _polls(world: World, this: _Pass) -> tuple[Watched, ...]:
    """The projects whose turn it is."""
    moving = _moving(world, this.waiting)
    known = world.fleet.watched(world.instance)
    watched = (replace(one, is_moving=one.project_id in moving) for one in known)
    # A third of the minute's calls stays for corrections, runner records and routing.
    at_most = max(1, world.config.gitlab.calls_per_minute // 3)
    return decide_polls(watched, at=world.clock(), at_most=at_most)


def _is_alive(world: World) -> bool:
    """Whether anything of the fleet is there, or should be: a quiet fleet's tick costs nothing."""
    return (
        any(pool.idle.count or pool.idle.schedule for pool in world.config.pools)
        or any(world.fleet.pool(pool.name).in_use for pool in world.config.pools)
        or any(queue.depth() or queue.dead() for queue in world.queues.values())
    )


def _moving(world: World, waiting: Mapping[int, Mapping[JobKey, Job]]) -> frozenset[int]:
    """The projects with jobs that `apply` has wait elsewhere: they are read before others."""
    names = {pool.name for pool in world.config.pools}
    moving = {
        project_id
        for project_id, rows in waiting.items()
        if any(job.pool not in names for job in rows.values())
    }
    if world.applied_at is not None and world.clock() - world.applied_at < APPLIED_LATELY:
        moving |= {
            job.project_id
            for job in world.jobs.unpooled(world.instance)
            if job.status is JobStatus.PENDING and fits_a_pool(world, job)
        }
    return frozenset(moving)


def _waiting_by_project(world: World) -> defaultdict[int, dict[JobKey, Job]]:
    """The rows that wait, by project; those in pools that `apply` took away among them."""
    rows: defaultdict[int, dict[JobKey, Job]] = defaultdict(dict)
    for pool in (*(one.name for one in world.config.pools), *world.removed):
        for job in world.jobs.waiting_in(pool):
            rows[job.project_id][job.key] = job
    return rows


def _project(world: World, one: Watched, this: _Pass) -> int:
    """One project set right, but for what must be looked up; how many jobs were routed."""
    at = world.clock()
    found = world.gitlab.pending_jobs(one.project_id, at_most=LISTED_AT_MOST)
    listed = {JobKey(instance=one.instance, job_id=job.id): job for job in found}
    waiting = this.waiting[one.project_id]
    if len(found) >= LISTED_AT_MOST:
        # Older ones may wait as well. GitLab gives the oldest away first: their turn comes.
        oldest = min(listed)
        waiting = {key: row for key, row in waiting.items() if key >= oldest}
    rows = waiting | world.jobs.jobs(key for key in listed if key not in waiting)
    # The index of open jobs does not have under which `apply` they were given up.
    rows |= world.jobs.jobs(key for key, row in rows.items() if row.given_up and key in listed)
    fix = decide_reconcile(listed, rows, at=at, applied=world.applied)
    step = Step(at=at, name=StepName.RECONCILE_FOUND, reason=Reason.WEBHOOK_LOST)
    lost = Lead(steps=(step,), path=one.path)
    leads = dict.fromkeys(fix.route, lost) | _misplaced(world, listed, rows)
    routed = (route(world, listed[key], key, lead).demand for key, lead in leads.items())
    renewed = renew(world, [rows[key] for key in fix.renew])
    demands = renewed + [demand for demand in routed if demand is not None]
    this.demands.extend(demands)
    send_demands(world, demands)
    this.unseen.extend(rows[key] for key in fix.look_up)
    world.fleet.note_polled(one.instance, one.project_id, at=at)
    return len(fix.route) + len(renewed)


def _misplaced(
    world: World, listed: Mapping[JobKey, GitLabJob], rows: Mapping[JobKey, Job]
) -> dict[JobKey, Lead]:
    """Jobs that wait where the configuration in force does not want them."""
    waiting = {key: rows[key] for key in listed if key in rows}
    leads = {
        key: again(world, listed[key], job)
        for key, job in waiting.items()
        if job.status is JobStatus.PENDING
    }
    return {key: lead for key, lead in leads.items() if lead is not None}


def _look_up_unseen(world: World, this: _Pass) -> int:
    """Look up what waits for us alone, with the calls that are left; how many were looked up.

    A cancelled pipeline of thousands whose webhooks were lost takes minutes: no project's jobs
    may keep another's from being read, nor from being looked up.
    """
    looked_up = failures = 0
    for job in takewhile(lambda _: this.has_time(), fair_order(this.unseen, {})):
        try:
            _look_up(world, job)
        except FleetError as exc:
            emit(GitLabRefused(doing=f"look up job {job.job_id}", error=str(exc)), level=WARNING)
            if isinstance(exc, Refused):
                world.jobs.looks.put_off(job.key, at=world.clock())  # else always the first
                continue
            failures += 1
            if "retry_after_s" in exc.facts or failures == FAILURES_AT_MOST:
                break
            continue
        looked_up += 1
    return looked_up


def _due(world: World) -> list[Job]:
    """Jobs whose end nobody told for long: of other runners, of dead machines, of no pool."""
    at = world.clock()
    keys = world.jobs.looks.due(world.instance, at=at, at_most=DUE_AT_MOST)
    return [job for job in world.jobs.jobs(keys).values() if job.status < JobStatus.FINISHED]


def _look_up(world: World, job: Job) -> None:
    """A row whose job GitLab does not list as pending, or that is due: ask what became of it."""
    found = world.gitlab.job(job.project_id, job.job_id)
    runner = runner_of(world, job, found.runner_description if found else None)
    recorded = record_seen(world, job, found, runner)
    if recorded.ended is not None:
        retry_if_infra(world, recorded.ended, recorded.failure_reason)
    if recorded.status <= job.status:
        world.jobs.looks.put_off(job.key, at=world.clock())
