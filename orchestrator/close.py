"""The end of one runner: machine, runner record and ledger row; and the next attempt of its job."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from adapters.aws.demand import Demand
from adapters.ledger.jobs import Step
from fleet.errors import FleetError, Refused
from fleet.events import WARNING, GitLabRefused, JobGivenUp, RunnerClosed, RunnerNotClosed, emit
from fleet.model import Job, JobKey, Runner, Status, rank
from fleet.reasons import Reason
from fleet.rules.liveness import steps_between
from orchestrator.world import World

UNAUTHORIZED = 401
# Ends of a machine that say by themselves that it served no job.
LOST_BEFORE_A_JOB = frozenset({Reason.BOOT_DEADLINE, Reason.MACHINE_GONE, Reason.INVOCATION_FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A runner whose machine was told to end, with what its row and its job's history shall say."""

    runner: Runner
    reason: Reason
    at: datetime
    steps: tuple[Step, ...]  # the machine's own, then its end


def end_machine(world: World, runner: Runner, reason: Reason) -> Ended:
    """End its machine, and nothing else. It costs money, so it comes first."""
    at = world.clock()
    steps = _machine_steps(world, runner)
    backend = world.backends.get(runner.backend)
    if backend is not None and runner.machine_id is not None:
        backend.end([runner.machine_id])
    gone = Step(at=at, step="machine_gone", reason=reason, detail=runner.machine_id)
    return Ended(runner=runner, reason=reason, at=at, steps=(*steps, gone))


def close_runner(world: World, ended: Ended) -> bool:
    """Delete the runner's record from GitLab and close its row; False when that was done before.

    Its jobs must be settled by then: GitLab forgets with the record which they are.
    """
    runner, steps = ended.runner, list(ended.steps)
    if runner.gitlab_runner_id is not None:
        world.gitlab.delete_runner(runner.gitlab_runner_id)
        steps.append(Step(at=world.clock(), step="runner_record_gone"))
    if not world.runners.close(runner, ended.reason, at=ended.at):
        return False
    _add_to_history(world, runner, steps, at=ended.at)
    emit(
        RunnerClosed(
            runner_id=runner.id,
            pool=runner.pool,
            reason=ended.reason,
            lived_s=(ended.at - runner.launched_at).total_seconds(),
        )
    )
    return True


@contextmanager
def left_to_sweep(runner: Runner, reason: Reason) -> Iterator[None]:
    """What fails in here is tried again by the next sweep: the row stays until the rest is gone."""
    try:
        yield
    except FleetError as exc:
        emit(
            RunnerNotClosed(runner_id=runner.id, pool=runner.pool, reason=reason, error=str(exc)),
            level=WARNING,
        )


def relaunch(world: World, runner: Runner, reason: Reason) -> None:
    """Send the demand of the job that a runner was launched for again, if the job waits in vain.

    Only the caller that closed the runner's row does so: one lost runner costs its job one
    attempt. Should that be left undone, scaling launches for the job all the same.
    """
    job = world.jobs.job(runner.for_job) if runner.for_job is not None else None
    if job is not None and _waits_in_vain(world, runner, job, reason):
        demand_again(world, job, reason)


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
    """What the machine reported, as steps of a job's history."""
    report = world.runners.reports([runner]).get(runner.id)
    reported = report.steps if report else ()
    dated = steps_between(reported, start=runner.launched_at, end=world.clock())
    return [Step(at=step.at, step=step.name.value, detail=step.detail) for step in dated]


def _add_to_history(world: World, runner: Runner, steps: Iterable[Step], *, at: datetime) -> None:
    """Put the machine's history into that of the job it ran, else of the one it was made for."""
    key: JobKey | None = runner.job or runner.for_job
    if key is not None:
        steps = [replace(step, runner=runner.id) for step in steps]
        world.jobs.tell(key, steps, torn_down_at=at.isoformat(), machine=runner.machine_id)
