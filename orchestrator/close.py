"""The end of one runner: machine, runner record and ledger row; and the next attempt of its job."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from adapters.aws.demand import Demand
from adapters.ledger.history import past_change
from adapters.ledger.spending import spending_changes
from adapters.machines.backend import Machine
from fleet.errors import FleetError, Refused
from fleet.events import WARNING, JobGivenUp, RunnerClosed, RunnerNotClosed, WorkPutOff, emit
from fleet.machine.mailbox import Report
from fleet.model import Job, JobKey, Runner
from fleet.reasons import Reason
from fleet.rules.attempts import Cost, decide_attempt, decide_cost, decide_cost_by_gitlab
from fleet.rules.budgets import has_budgets
from fleet.rules.liveness import steps_between
from fleet.steps import Step, StepName
from orchestrator.fits import note_containers
from orchestrator.measure import announce
from orchestrator.past import EndedRunner, past_run
from orchestrator.warm import note_warm_end
from orchestrator.world import World


def end_machine(
    world: World, runner: Runner, reason: Reason, *, shown: Machine | None = None
) -> EndedRunner:
    """End the runner's machine, and nothing else. The machine costs money, so it is the first.

    `shown`: the machine as its cloud shows it now; one that ended already costs no call.
    """
    at = world.clock()
    report = world.runners.reports([runner]).get(runner.id)
    steps = _machine_steps(runner, report, at)
    backend = world.backends.get(runner.backend)
    has_ended = shown is not None and shown.ended
    if backend is not None and runner.machine_id is not None and not has_ended:
        backend.end([runner.machine_id])
    gone = Step(at=at, name=StepName.MACHINE_GONE, reason=reason, machine=runner.machine_id)
    return EndedRunner(runner=runner, reason=reason, at=at, steps=(*steps, gone), report=report)


def close_runner(world: World, ended: EndedRunner) -> bool:
    """Delete the runner's record from GitLab and close its row; False when another closed it.

    Settle its jobs first: with the record GitLab forgets which they are. The caller that closes
    the row also writes down what its end says: the job's history, its containers, a warm failure.
    """
    runner, steps = ended.runner, list(ended.steps)
    if runner.gitlab_runner_id is not None:
        world.gitlab.delete_runner(runner.gitlab_runner_id)
        steps.append(Step(at=world.clock(), name=StepName.RUNNER_RECORD_GONE))
    row = world.jobs.row(runner.job) if runner.job is not None else None
    past = past_run(world, ended, row)
    counters = spending_changes(past) if has_budgets(world.config) else []
    also = [past_change(past), *counters]
    if not world.runners.close(runner, ended.reason, at=ended.at, also=also):
        return False
    job = row.job if row is not None else None
    _add_to_history(world, runner, job, steps, at=ended.at)
    if job is not None:  # no report speaks for a job that GitLab does not say the runner had
        note_containers(world, job, steps)
    note_warm_end(world, runner, ended.report, ended.reason, at=ended.at)
    emit(
        RunnerClosed(
            runner_id=runner.id,
            pool=runner.pool,
            reason=ended.reason,
            lived_s=(ended.at - runner.launched_at).total_seconds(),
        )
    )
    announce(past)
    return True


@contextmanager
def left_to_sweep(runner: Runner, reason: Reason) -> Iterator[None]:
    """Log a failure in here. The row stays open, so the next sweep tries again."""
    try:
        yield
    except FleetError as exc:
        emit(
            RunnerNotClosed(runner_id=runner.id, pool=runner.pool, reason=reason, error=str(exc)),
            level=WARNING,
        )


def relaunch(world: World, runner: Runner, reason: Reason) -> None:
    """Send the demand of the runner's job again, where the runner's end costs it an attempt.

    Only the caller that closed the row calls this: one lost runner costs one attempt. Scaling
    launches for the job also where the demand is not sent.
    """
    job = world.jobs.job(runner.for_job) if runner.for_job is not None else None
    if job is None:
        return
    report = world.runners.reports([runner]).get(runner.id)
    steps = {step.name for step in report.steps} if report else set()
    cost = decide_cost(job, runner, reason, read_credential=StepName.CREDENTIAL_READ in steps)
    if cost is Cost.ASK:
        cost = decide_cost_by_gitlab(_status_in_gitlab(world, job))
    if cost is not Cost.NOTHING:
        demand_again(world, job, reason, cost)


def _status_in_gitlab(world: World, job: Job) -> str | FleetError | None:
    """The job's status in GitLab; None where GitLab has no such job; or why it gave no answer."""
    try:
        shown = world.gitlab.job(job.project_id, job.job_id)
    except FleetError as exc:
        if not isinstance(exc, Refused):
            doing = f"ask why job {job.job_id} was not served"
            emit(WorkPutOff(doing=doing, error=str(exc)), level=WARNING)
        return exc
    return shown.status if shown else None


def demand_again(world: World, job: Job, reason: Reason, cost: Cost = Cost.ATTEMPT) -> None:
    """Send a job's next attempt, or its dead letter when the attempts are used up."""
    pool = world.pool(job.pool or "")
    if pool is None:
        return
    current = world.jobs.job(job.key)
    plan = decide_attempt(job, current, attempts=pool.attempts, reason=reason, cost=cost)
    if plan is None:
        return
    counts = cost is Cost.ATTEMPT
    queue = world.queues[pool.backend]
    demand = Demand(job=job.key, project_id=job.project_id, pool=pool.name, attempt=plan.attempt)
    step = Step(
        at=world.clock(),
        name=StepName.GIVEN_UP if plan.given_up else StepName.DEMAND_SENT,
        reason=plan.reason,
        attempt=job.attempts_used if counts else None,
        attempts=pool.attempts if counts else None,
        cause=reason,
    )
    if plan.given_up:
        queue.bury(demand)  # before the row says so: a crash in between buries it twice, not never
    raised = world.jobs.demand_again(
        job.key,
        plan.attempt,
        step,
        given_up=plan.given_up,
        swallowed=plan.swallowed,
        applied=world.applied,
    )
    if raised and plan.given_up:
        emit(
            JobGivenUp(job_id=job.job_id, pool=pool.name, attempts=job.attempts_used), level=WARNING
        )
    elif raised:
        queue.send([demand])


def _machine_steps(runner: Runner, report: Report | None, at: datetime) -> list[Step]:
    """What the machine reported, as steps of a job's history."""
    reported = report.steps if report else ()
    return list(steps_between(reported, start=runner.launched_at, end=at))


def _add_to_history(
    world: World, runner: Runner, job: Job | None, steps: Iterable[Step], *, at: datetime
) -> None:
    """Put the machine's history into that of its `job`, else of the one it was launched for."""
    key: JobKey | None = runner.job or runner.for_job
    if key is None:
        return
    steps = [replace(step, runner=runner.id) for step in steps]
    known = job if runner.job is not None else world.jobs.job(key)
    if known is not None and known.runner_id not in {None, runner.id}:
        world.jobs.extend(key, steps)  # another machine has the job: its end is that one's
        return
    facts = {"machine": runner.machine_id, "capacity": runner.capacity}
    world.jobs.extend(key, steps, torn_down_at=at.isoformat(), **facts)
