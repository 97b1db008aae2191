"""Settle one event: record the job, close its runner, retry a job that the machine failed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from adapters.machines.backend import Machine
from fleet.errors import FleetError, Refused
from fleet.events import WARNING, JobNotRelaunched, emit
from fleet.job_event import JobEvent
from fleet.model import Job, JobKey, JobStatus, Note, Runner, rank
from fleet.reasons import Reason
from fleet.rules.controls import end_of, in_force
from fleet.rules.liveness import by_our_clock, is_alive, silent_for
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
from fleet.times import iso
from orchestrator.close import close_runner, end_machine, left_to_sweep, relaunch
from orchestrator.hook_reach import is_within_reach
from orchestrator.hooks import note_proof
from orchestrator.job_ends import learn_and_retry, retry_lost_jobs
from orchestrator.job_runner import did_run, ran_in_fleet, runner_of, runs_a_job
from orchestrator.past import keep_end
from orchestrator.world import World

LONGEST_ID = 200  # characters; a key of the ledger takes 1024 bytes
_MACHINE_EVENTS = {
    "EC2 Spot Instance Interruption Warning": Happening.SPOT_NOTICE,
    "EC2 Instance Rebalance Recommendation": Happening.SPOT_NOTICE,
    "EC2 Instance State-change Notification": Happening.MACHINE_GONE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleResult:
    """`wait_s`: call again after this wait. `wake`: scaling has something to do now."""

    reason: Reason
    wait_s: float | None = None
    wake: bool = False


def settle(world: World, event: Mapping[str, Any], *, round_: int) -> SettleResult:
    """Settle an event of the bus, or ask for another round after a wait.

    `round_`: 0 at first, plus 1 after each wait. Raises `Refused` for an event that no rule sends.
    """
    kind = event["detail-type"]
    detail = event["detail"]
    if kind in {"job.running", "job.finished"}:
        job_event = JobEvent.from_detail(detail)
        if not is_within_reach(world, job_event):
            return SettleResult(reason=Reason.OUTSIDE)
        return _settle_job(world, job_event, round_=round_)
    if kind in _MACHINE_EVENTS:
        runner = _runner_on(world, detail["instance-id"])
        return _settle_machine(world, _MACHINE_EVENTS[kind], runner, round_=round_)
    if kind.startswith("Lambda Function Invocation Result"):
        runner = world.runners.find(_invoked(detail))
        return _settle_machine(world, Happening.INVOCATION_FAILED, runner, round_=round_)
    raise Refused("settle knows no such event", detail_type=kind)


def _settle_job(world: World, event: JobEvent, *, round_: int) -> SettleResult:
    """A runner took a job, or a job ended."""
    if round_ == 0:
        note_proof(world, event)
    job = job_of(world, event)
    if job is None:
        return SettleResult(reason=Reason.FOREIGN)
    runner = runner_of(world, job, description=event.runner_description, record_id=event.runner_id)
    uncounted = runner is not None and took_uncounted(job, runner)
    if runner is not None:
        # A runner made for another job may have taken it before it was routed at all.
        job = replace(job, runner_id=runner.id, pool=job.pool or runner.pool)
    if round_ == 0:
        record_event(world, job, event, runner)
        runner = _with_job(world, runner, job)
    if job.status is JobStatus.RUNNING:
        return SettleResult(reason=Reason.RUNNING, wake=uncounted)
    if round_ == 0 and ran_in_fleet(world, job, event):
        learn_and_retry(world, job, event.failure_reason)
    facts = SettleFacts(
        happening=Happening.FINISHED,
        round=round_,
        job=job.key,
        runner=runner,
        ends_alone=runner is not None and world.ends_alone(runner),
    )
    plan = decide_settle(facts)
    if plan.ask and runner is not None:
        running = runs_a_job(world, runner)
        ran_there = not running and did_run(world, job, runner)
        plan = decide_settle(replace(facts, ran_there=ran_there, job_running=running))
    return _act(world, plan, runner)


def job_of(world: World, event: JobEvent) -> Job | None:
    """The job as the event shows it, with what only the ledger knows."""
    status = rank(event.status)
    key = JobKey(instance=world.instance, job_id=event.job_id)
    known = world.jobs.job(key)
    if known is not None and known.project_id != event.project_id:
        if not known.is_hearsay:
            return None
        world.jobs.drop_hearsay(known)
        known = None
    job = known or Job(
        key=key,
        project_id=event.project_id,
        project_path="",  # an event may say anything; GitLab's answer has it
        name=event.job_name,
        tags=(),
        status=JobStatus.CREATED,
        outcome=None,
        pending_at=event.created_at or event.received_at,
        pipeline_id=event.pipeline_id,
        is_hearsay=True,
    )
    return replace(
        job,
        status=status,
        outcome=event.status if status is JobStatus.FINISHED else None,
        gitlab_runner_id=event.runner_id,
        deploys=job.deploys or event.deploys,
    )


def record_event(world: World, job: Job, event: JobEvent, runner: Runner | None) -> None:
    """Raise the job's row to the event, and its runner's to busy; an older event changes neither.

    An older event is a step of the job's history only.
    """
    at = world.clock()
    name = StepName(event.status) if job.status is JobStatus.FINISHED else StepName.TAKEN
    steps = [
        _received(event),
        Step(
            at=at,
            name=name,
            failure=event.failure_reason,
            runner=runner.id if runner else None,
            detail=None if runner else event.runner_description,
        ),
    ]
    facts = {
        "started_at": iso(event.started_at),
        "finished_at": iso(event.finished_at),
        "failure_reason": event.failure_reason,
        "machine": runner.machine_id if runner else None,
        "pool": job.pool,
    }
    is_news = world.jobs.advance(job, steps, at=at, facts=facts)
    if not is_news:
        _record_late(world, job, event)
    if event.deploys:  # also where GitLab was asked before this event arrived
        world.jobs.extend(job.key, [], deploys=True)
    if is_news and runner is not None and job.status is JobStatus.RUNNING:
        world.runners.record_taken(runner, job.key, job.project_id, at=at)
    if runner is None and job.status is JobStatus.FINISHED:
        keep_end(world, job)


def _with_job(world: World, runner: Runner | None, job: Job) -> Runner | None:
    """The runner with the job of GitLab's event; a job that is over is written into its row.

    A job's end may arrive without its start, or before it. Without its job a runner would count
    as one that ended unserved, and its history would be that of the job it was launched for.
    """
    if runner is None or runner.job is not None:
        return runner
    if job.status is JobStatus.FINISHED:
        world.runners.record_past_job(runner, job.key, job.project_id)
    return replace(runner, job=job.key, works_for=job.project_id)


def _record_late(world: World, job: Job, event: JobEvent) -> None:
    """Add a late event to its job's history, unless this very delivery is there already."""
    row = world.jobs.row(job.key)
    if row is None or any(step.delivery_id == event.delivery_id for step in row.steps):
        return
    ignored = Step(
        at=world.clock(), name=StepName.IGNORED, reason=Reason.STALE_EVENT, detail=event.status
    )
    world.jobs.extend(job.key, [_received(event), ignored])


def _received(event: JobEvent) -> Step:
    return Step(
        at=event.received_at,
        name=StepName.WEBHOOK_RECEIVED,
        delivery_id=event.delivery_id,
        detail=event.status,
    )


def _settle_machine(
    world: World, happening: Happening, runner: Runner | None, *, round_: int
) -> SettleResult:
    """An event says that a machine has ended, or ends soon."""
    facts = SettleFacts(happening=happening, round=round_, runner=runner)
    if runner is None:
        return SettleResult(reason=decide_settle(facts).reason)
    at = world.clock()
    shown: Machine | None = None
    if happening is Happening.MACHINE_GONE:
        shown = world.backends[runner.backend].machine(runner.machine_id or "")
        alive = _alive(world, runner, shown)
        is_ordered = alive is False and _is_ordered(world, runner)
        facts = replace(facts, machine_alive=alive, is_ordered=is_ordered)
    if happening is Happening.INVOCATION_FAILED:
        facts = replace(
            facts, ends_alone=world.ends_alone(runner), silent_for=silent_for(runner, at)
        )
    plan = decide_settle(facts)
    if happening is Happening.INVOCATION_FAILED and plan.wait_s is not None:
        _note_silence(world, runner, at)
    if happening is Happening.INVOCATION_FAILED and plan.close:
        world.runners.note_machine_lost(runner)  # while GitLab is out, the sweep closes it
    if happening is Happening.SPOT_NOTICE and runner.job is not None:
        step = Step(at=at, name=StepName.SPOT_NOTICE, reason=Reason.SPOT_NOTICE)
        world.jobs.extend(runner.job, [step])
    return _act(world, plan, runner, shown)


def _act(
    world: World, plan: SettlePlan, runner: Runner | None, shown: Machine | None = None
) -> SettleResult:
    """Carry out the plan for a runner; `shown`: its machine, where its cloud was asked."""
    if runner is not None and plan.drain:
        world.runners.drain(runner, plan.reason, at=world.clock())
    if runner is not None and plan.close:
        _close(world, plan, runner, shown)
    return SettleResult(reason=plan.reason, wait_s=plan.wait_s, wake=_wakes(world, plan, runner))


def _close(world: World, plan: SettlePlan, runner: Runner, shown: Machine | None) -> None:
    """End its machine, retry the job that it left running, close it, launch again for its job.

    A failure to relaunch is logged and not raised: another try would not find the closed runner,
    and wake nothing. Scaling launches for the job without its demand.
    """
    is_closed = False
    with left_to_sweep(runner, plan.reason):
        ended = end_machine(world, runner, plan.reason, shown=shown)
        ended = replace(ended, runner=retry_lost_jobs(world, runner))
        is_closed = close_runner(world, ended)
    if not is_closed or not plan.relaunch:
        return
    try:
        relaunch(world, ended.runner, plan.reason)
    except FleetError as exc:
        event = JobNotRelaunched(runner_id=runner.id, pool=runner.pool, error=str(exc))
        emit(event, level=WARNING)


def _wakes(world: World, plan: SettlePlan, runner: Runner | None) -> bool:
    is_closed = plan.close and not plan.relaunch
    pool = world.pool(runner.pool) if runner is not None and is_closed else None
    return wakes_scaling(
        plan,
        idle_target=idle_target(pool.idle, world.clock()) if pool else 0,
        wants_room=pool is not None and _wants_room(world, pool.name),
    )


def _wants_room(world: World, pool: str) -> bool:
    try:
        return world.fleet.pool(pool).wants_room
    except Refused:  # its row cannot be read: scaling looks and says so
        return True


def _invoked(detail: object) -> str:
    """The id of the runner that was invoked; empty where the event names none.

    A job that has its sandbox's role can put any event of this kind.
    """
    payload = detail.get("requestPayload") if isinstance(detail, Mapping) else None
    named = payload.get("runner_id") if isinstance(payload, Mapping) else None
    return named if isinstance(named, str) and len(named) <= LONGEST_ID else ""


def _runner_on(world: World, machine_id: str) -> Runner | None:
    """The live runner on an EC2 machine, by the runner's own row: any other row is a way there."""
    backend = world.backends.get("ec2")
    mailboxes = backend.mailboxes(machine_id) if backend else ()
    owners = (world.runners.owner(mailbox) for mailbox in mailboxes)
    runner_id = next((owner for owner in owners if owner), None)
    runner = world.runners.find(runner_id) if runner_id else None
    return runner if runner is not None and runner.machine_id == machine_id else None


def _alive(world: World, runner: Runner, shown: Machine | None) -> bool | None:
    """Whether the runner's machine lives, as its cloud says now."""
    at = world.clock()
    return is_alive(
        by_our_clock(runner, at),
        can_tell=not world.ends_alone(runner),
        shown_alive=shown.alive if shown else None,
        at=at,
    )


def _is_ordered(world: World, runner: Runner) -> bool:
    """Whether a person's order in force ends the runner at once."""
    order = end_of(in_force(world.fleet.controls(), world.clock()), runner)
    return order is not None and order.at_once


def _note_silence(world: World, runner: Runner, at: datetime) -> None:
    """Note the last report: a machine that lives writes another before the next look."""
    sign = runner.sign
    if sign is not None and not sign.is_noted:
        note = Note(mark=sign.mark, at=at, state=runner.state, since=runner.since)
        world.runners.note(runner, note)
