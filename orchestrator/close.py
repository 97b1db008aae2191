"""The end of one runner: machine, runner record and ledger row, in any order, repeatably."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from adapters.aws.demand import Demand
from adapters.ledger.jobs import Step
from fleet.errors import FleetError, Refused
from fleet.events import WARNING, GitLabRefused, JobGivenUp, RunnerClosed, RunnerNotClosed, emit
from fleet.machine.mailbox import Step as MachineStep
from fleet.model import Job, JobKey, Runner, Status, rank
from fleet.reasons import Reason
from fleet.rules.liveness import steps_between
from orchestrator.job_ends import settle_jobs_of
from orchestrator.world import World

UNAUTHORIZED = 401
# Ends of a machine that say by themselves that it served no job.
LOST_BEFORE_A_JOB = frozenset({Reason.BOOT_DEADLINE, Reason.MACHINE_GONE, Reason.INVOCATION_FAILED})


def close_runner(world: World, runner: Runner, reason: Reason) -> bool:
    """End its machine, delete it from GitLab, close its row; whether all of that is done.

    What fails is tried again by the next sweep, because the row stays until the rest is gone.
    """
    return _close(world, runner, reason) is not None


def _close(world: World, runner: Runner, reason: Reason) -> bool | None:
    """Close it: whether we were the first to do so, None when not all of it could be done."""
    at = world.clock()
    try:
        steps = _machine_steps(world, runner)
        backend = world.backends.get(runner.backend)
        if backend is not None and runner.machine_id is not None:
            backend.end([runner.machine_id])
        settle_jobs_of(world, runner)
        steps.append(Step(at=at, step="machine_gone", reason=reason, detail=runner.machine_id))
        if runner.gitlab_runner_id is not None:
            world.gitlab.delete_runner(runner.gitlab_runner_id)
            steps.append(Step(at=world.clock(), step="runner_record_gone"))
        first = world.runners.close(runner, reason, at=at)
    except FleetError as exc:
        emit(
            RunnerNotClosed(runner_id=runner.id, pool=runner.pool, reason=reason, error=str(exc)),
            level=WARNING,
        )
        return None
    if first:
        _tell_jobs(world, runner, steps, at=at)
        lived_s = (at - runner.launched_at).total_seconds()
        emit(RunnerClosed(runner_id=runner.id, pool=runner.pool, reason=reason, lived_s=lived_s))
    return first


def close_and_relaunch(world: World, runner: Runner, reason: Reason) -> bool:
    """Close it, and send the demand of the job that it was launched for again; whether it closed.

    Whoever closed it does so, and nobody else: one lost runner costs its job one attempt. Should
    that be left undone, scaling launches for the job all the same, as for all that wait.
    """
    first = _close(world, runner, reason)
    if first and runner.for_job is not None:
        job = world.jobs.job(runner.for_job)
        if job is not None and _waits_in_vain(world, runner, job, reason):
            demand_again(world, job, reason)
    return first is not None


def _waits_in_vain(world: World, runner: Runner, job: Job, reason: Reason) -> bool:
    """Whether the job that a runner was launched for still waits, and its end is why."""
    if job.status is not Status.PENDING or job.given_up:
        return False
    is_known_lost = reason in LOST_BEFORE_A_JOB and runner.job is None
    return is_known_lost or _is_withheld(world, job)


def _is_withheld(world: World, job: Job) -> bool:
    """Whether GitLab did not hand over a job that waits; in doubt, while it is out, it could not.

    Else an outage of GitLab would use up the attempts of every job that waits for its end.
    """
    try:
        found = world.gitlab.job(job.project_id, job.job_id)
    except Refused as exc:
        return exc.facts.get("status") != UNAUTHORIZED  # a dead token says nothing of the job
    except FleetError as exc:
        told = GitLabRefused(doing=f"ask why job {job.job_id} was not served", error=str(exc))
        emit(told, level=WARNING)
        return False
    return found is None or rank(found.status) <= Status.PENDING


def demand_again(world: World, job: Job, reason: Reason) -> None:
    """One more attempt for a job, or the dead-letter queue when they are used up."""
    pool = world.pool(job.pool or "")
    if pool is None:
        return
    demand = Demand(job=job.key, project_id=job.project_id, pool=pool.name, attempt=job.attempt + 1)
    used_up = job.attempts_used >= pool.attempts
    step = Step(
        at=world.clock(),
        step="given_up" if used_up else "demand_sent",
        reason=Reason.ATTEMPTS_USED if used_up else reason,
        detail=f"attempt {job.attempts_used} of {pool.attempts} failed: {reason}",
    )
    queue = world.queues[pool.backend]
    now = world.jobs.job(job.key)
    if now is None or now.given_up or now.attempt > job.attempt:
        return  # another finder of the same end was first
    if used_up:
        queue.bury(demand)  # before the row says so: a crash in between buries it twice, not never
    raised = world.jobs.demand_again(
        job.key, demand.attempt, step, given_up=used_up, applied=world.applied
    )
    if not raised:
        return
    if used_up:
        emit(
            JobGivenUp(job_id=job.job_id, pool=pool.name, attempts=job.attempts_used), level=WARNING
        )
    else:
        queue.send([demand])


def _machine_steps(world: World, runner: Runner) -> list[Step]:
    """What the machine itself told, as steps of a job's history."""
    report = world.runners.reports([runner]).get(runner.id)
    told = report.steps if report else ()
    ours = steps_between(told, start=runner.launched_at, end=world.clock())
    return [_step(one) for one in ours]


def _step(told: MachineStep) -> Step:
    return Step(at=told.at, step=told.name.value, detail=told.detail)


def _tell_jobs(world: World, runner: Runner, steps: Iterable[Step], *, at: datetime) -> None:
    """Put the machine's history into that of the job it ran, else of the one it was made for."""
    key: JobKey | None = runner.job or runner.for_job
    if key is not None:
        steps = [replace(step, runner=runner.id) for step in steps]
        world.jobs.tell(key, steps, torn_down_at=at.isoformat(), machine=runner.machine_id)
