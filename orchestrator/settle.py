"""Settle one happening: record the job, close its runner, retry what the machine failed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from fleet.errors import FleetError, Refused
from fleet.events import WARNING, NotRelaunched, emit
from fleet.job_event import JobEvent
from fleet.model import Job, JobKey, JobStatus, Runner, rank
from fleet.reasons import Reason
from fleet.rules.job_runner import ran_here, ran_on, runs_unclaimed
from fleet.rules.schedule import idle_target
from fleet.rules.settle import (
    Happening,
    SettleFacts,
    SettlePlan,
    decide_settle,
    took_uncounted,
    wakes_scaling,
)
from fleet.steps import Step, StepName
from orchestrator.close import close_runner, end_machine, left_to_sweep, relaunch
from orchestrator.job_ends import retry_lost_jobs
from orchestrator.retry import retry_if_infra
from orchestrator.watch import note_proof
from orchestrator.world import World

_MACHINE_EVENTS = {
    "EC2 Spot Instance Interruption Warning": Happening.SPOT_NOTICE,
    "EC2 Instance Rebalance Recommendation": Happening.SPOT_NOTICE,
    "EC2 Instance State-change Notification": Happening.MACHINE_GONE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """`wait_s`: call again after so long. `wake`: somebody may be launched for now."""

    reason: Reason
    wait_s: float | None = None
    wake: bool = False


def settle(world: World, event: Mapping[str, Any], *, round_: int) -> Settled:
    """Whatever came on the bus, settled or left for the next round."""
    kind = event["detail-type"]
    detail = event["detail"]
    if kind in {"job.running", "job.finished"}:
        return _settle_job(world, JobEvent.from_detail(detail), round_=round_)
    if kind in _MACHINE_EVENTS:
        runner = _runner_on(world, detail["instance-id"])
        return _settle_machine(world, _MACHINE_EVENTS[kind], runner)
    if kind.startswith("Lambda Function Invocation Result"):
        payload = detail.get("requestPayload", {})
        runner = world.runners.find(str(payload.get("runner_id", "")))
        return _settle_machine(world, Happening.INVOCATION_FAILED, runner)
    raise Refused("settle knows no such event", detail_type=kind)


def _settle_job(world: World, told: JobEvent, *, round_: int) -> Settled:
    """A job was taken or ended."""
    status = rank(told.status)
    if round_ == 0:
        note_proof(world, told)
    job = job_told(world, told, status)
    runner = runner_of(world, job, told.runner_description)
    uncounted = runner is not None and took_uncounted(job, runner)
    if runner is not None:
        # A runner made for another job may have taken it before it was routed at all.
        job = replace(job, runner_id=runner.id, pool=job.pool or runner.pool)
    if round_ == 0:
        record(world, job, told, runner)
    if status is JobStatus.RUNNING:
        return Settled(reason=Reason.RUNNING, wake=uncounted)
    if round_ == 0 and _ran_here(world, job, told):
        retry_if_infra(world, job, told.failure_reason)
    facts = SettleFacts(
        happening=Happening.FINISHED,
        round=round_,
        job=job.key,
        runner=runner,
        ends_alone=runner is not None and world.ends_alone(runner),
    )
    plan = decide_settle(facts)
    if plan.ask and runner is not None:
        plan = decide_settle(replace(facts, job_running=runs_a_job(world, runner)))
    return _act(world, plan, runner)


def job_told(world: World, told: JobEvent, status: JobStatus) -> Job:
    """The job as the event tells it; what only the ledger knows is added."""
    key = JobKey(instance=world.instance, job_id=told.job_id)
    known = world.jobs.job(key)
    base = known or Job(
        key=key,
        project_id=told.project_id,
        project_path=told.project_path,
        name=told.job_name,
        tags=(),
        status=JobStatus.CREATED,
        outcome=None,
        pending_at=told.created_at or told.received_at,
        pipeline_id=told.pipeline_id,
    )
    return replace(
        base,
        status=status,
        outcome=told.status if status is JobStatus.FINISHED else None,
        gitlab_runner_id=told.runner_id,
        deploys=base.deploys or told.deploys,
    )


def _ran_here(world: World, job: Job, event: JobEvent) -> bool:
    name = event.runner_description
    return ran_here(
        job,
        described=name,
        is_ours=name is not None and world.runner_described(name) is not None,
        shared=world.config.gitlab.credentials == "shared",
    )


def runner_of(world: World, job: Job, description: str | None) -> Runner | None:
    """Our live runner that took a job: by its name in GitLab, by the ledger, by its own report."""
    for name in (world.runner_described(description or ""), job.runner_id):
        found = world.runners.find(name) if name else None
        if found is not None:
            return found
    shared = world.config.gitlab.credentials == "shared"
    if job.pool is None or not shared:
        return None
    return next((one for one in world.runners.live(job.pool) if one.job == job.key), None)


def record(world: World, job: Job, told: JobEvent, runner: Runner | None) -> None:
    """Raise the job's status, with the hop that told us; an older event changes nothing."""
    at = world.clock()
    name = StepName(told.status) if job.status is JobStatus.FINISHED else StepName.TAKEN
    steps = [
        Step(at=told.received_at, name=StepName.WEBHOOK_RECEIVED, delivery_id=told.delivery_id),
        Step(
            at=at,
            name=name,
            failure=told.failure_reason,
            runner=runner.id if runner else None,
            detail=None if runner else told.runner_description,
        ),
    ]
    facts = {
        "started_at": _iso(told.started_at),
        "finished_at": _iso(told.finished_at),
        "failure_reason": told.failure_reason,
        "machine": runner.machine_id if runner else None,
        "pool": job.pool,
    }
    advanced = world.jobs.advance(job, steps, at=at, facts=facts)
    if not advanced:
        _tell_late(world, job, told)
    if told.deploys:  # also where GitLab was asked before this event came
        world.jobs.tell(job.key, [], deploys=True)
    if advanced and runner is not None and job.status is JobStatus.RUNNING:
        world.runners.took(runner, job.key, job.project_id, at=at)


def _tell_late(world: World, job: Job, told: JobEvent) -> None:
    """An event that came after a later one, or after GitLab was asked, is a hop of its job, too.

    Not one that was recorded before: it came twice, or the machine tries again.
    """
    row = world.jobs.row(job.key)
    if row is None or any(step.delivery_id == told.delivery_id for step in row.steps):
        return
    steps = [
        Step(at=told.received_at, name=StepName.WEBHOOK_RECEIVED, delivery_id=told.delivery_id),
        Step(
            at=world.clock(),
            name=StepName.IGNORED,
            reason=Reason.STALE_EVENT,
            detail=told.status,
        ),
    ]
    world.jobs.tell(job.key, steps)


def runs_a_job(world: World, runner: Runner) -> bool:
    """GitLab's word on whether a runner of ours has a job now."""
    if runner.job is not None:
        project_id = runner.works_for
        job = world.jobs.job(runner.job)
        project_id = job.project_id if job else project_id
        if project_id is not None:
            found = world.gitlab.job(project_id, runner.job.job_id)
            is_running = found is not None and rank(found.status) is JobStatus.RUNNING
            if is_running and ran_on(runner, job, found):
                return True
    if runner.gitlab_runner_id is not None:
        return bool(world.gitlab.runner_jobs(runner.gitlab_runner_id, status="running"))
    if runner.pool_record_id is None:
        return False
    shown = world.gitlab.runner_jobs(runner.pool_record_id, status="running")
    running = [JobKey(instance=world.instance, job_id=job.id) for job in shown]
    return runs_unclaimed(runner, running, world.runners.live(runner.pool))


def _settle_machine(world: World, happening: Happening, runner: Runner | None) -> Settled:
    """A machine is gone or going."""
    plan = decide_settle(SettleFacts(happening=happening, round=0, runner=runner))
    if runner is None:
        return Settled(reason=plan.reason)
    if happening is Happening.INVOCATION_FAILED:
        world.runners.lose_machine(runner)  # should GitLab be out, the sweep closes it
    if happening is Happening.SPOT_NOTICE and runner.job is not None:
        step = Step(at=world.clock(), name=StepName.SPOT_NOTICE, reason=Reason.SPOT_NOTICE)
        world.jobs.tell(runner.job, [step])
    return _act(world, plan, runner)


def _act(world: World, plan: SettlePlan, runner: Runner | None) -> Settled:
    """Carry out what the rule said of a runner."""
    if runner is not None and plan.drain:
        world.runners.drain(runner, plan.reason, at=world.clock())
    if runner is not None and plan.close:
        _close(world, plan, runner)
    return Settled(reason=plan.reason, wait_s=plan.wait_s, wake=_wakes(world, plan, runner))


def _close(world: World, plan: SettlePlan, runner: Runner) -> None:
    """End a runner whole: its machine, the job that it left running, its record and row.

    Once it is closed, another try would not find it and wake nothing. A demand that could not be
    written down is no reason for its job to wait: scaling launches for it all the same.
    """
    is_closed = False
    with left_to_sweep(runner, plan.reason):
        ended = end_machine(world, runner, plan.reason)
        retry_lost_jobs(world, runner)
        is_closed = close_runner(world, ended)
    if not is_closed or not plan.relaunch:
        return
    try:
        relaunch(world, runner, plan.reason)
    except FleetError as exc:
        event = NotRelaunched(runner_id=runner.id, pool=runner.pool, error=str(exc))
        emit(event, level=WARNING)


def _wakes(world: World, plan: SettlePlan, runner: Runner | None) -> bool:
    is_closed = plan.close and not plan.relaunch
    pool = world.pool(runner.pool) if runner is not None and is_closed else None
    return wakes_scaling(
        plan,
        idle_target=idle_target(pool.idle, world.clock()) if pool else 0,
        wants_room=pool is not None and world.fleet.pool(pool.name).wants_room,
    )


def _runner_on(world: World, machine_id: str) -> Runner | None:
    """The live runner on an EC2 machine."""
    backend = world.backends.get("ec2")
    mailbox = backend.mailbox(machine_id) if backend else None
    runner_id = world.runners.owner(mailbox) if mailbox else None
    return world.runners.find(runner_id) if runner_id else None


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
