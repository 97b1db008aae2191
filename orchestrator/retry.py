"""One more run for a job that its machine failed."""

from collections.abc import Callable
from dataclasses import replace
from itertools import takewhile

from adapters.gitlab.values import GitLabJob
from adapters.ledger.retries import Intent
from fleet.errors import FleetError, Refused
from fleet.events import WARNING, JobRetried, WorkPutOff, emit
from fleet.model import Job, JobKey, JobStatus, rank
from fleet.reasons import Reason
from fleet.rules.retry import (
    IN_HAND,
    LEFT_TO_PEOPLE,
    RetryFacts,
    decide_retry,
    facts_now,
    is_cancel_too_late,
    is_retry_allowed,
    ran_again,
)
from fleet.steps import Step, StepName
from fleet.times import iso
from orchestrator.world import World


def retry_if_infra(
    world: World, job: Job, failure_reason: str | None, *, machine_lost: bool = False
) -> None:
    """Retry a job once on on-demand capacity when the rule says so, else record why not.

    GitLab's own `retry:` is never doubled: a newer job of the same name counts as the retry.
    The intent is written first: while GitLab does not answer, reconcile tries again.
    """
    pool = world.pool(job.pool or "")
    facts = RetryFacts(
        allowed=is_retry_allowed(job.pool, infra_retry=pool.infra_retry if pool else None),
        outcome=job.outcome,
        failure_reason=failure_reason,
        machine_lost=machine_lost,
        retried=False,
        is_retry=job.on_demand,
        deploys=job.deploys,
    )
    plan = decide_retry(facts)
    if not plan.retry:
        if plan.reason in LEFT_TO_PEOPLE:
            _record_unretried(world, job, plan.reason, machine_lost=machine_lost)
        return
    intent = Intent(job=job.key, failure_reason=failure_reason)
    if world.jobs.retries.claim(intent, at=world.clock()):
        _carry_out(world, job, intent)
    else:
        _record_decision(world, job, Reason.ALREADY_RETRIED)


def finish_retries(world: World, has_time: Callable[[], bool]) -> None:
    """Carry out the intents that are not settled, as long as there is time."""
    due = world.jobs.retries.due(before=world.clock() - IN_HAND)
    for intent in takewhile(lambda _: has_time(), due):
        try:
            job = world.jobs.job(intent.job)
        except Refused as exc:  # its row cannot be read
            emit(WorkPutOff(doing=f"retry job {intent.job}", error=str(exc)), level=WARNING)
            continue
        if job is None:
            world.jobs.retries.settle(intent.job)
        else:
            _carry_out(world, job, intent)


def _carry_out(world: World, job: Job, intent: Intent) -> None:
    """Carry out an intent; it stays while GitLab does not answer."""
    try:
        _retry(world, job, intent)
    except Refused as exc:
        emit(WorkPutOff(doing=f"retry job {job.job_id}", error=str(exc)), level=WARNING)
        _record_unretried(
            world,
            job,
            Reason.INFRA_RETRY,
            machine_lost=intent.is_machine_lost,
            refusal=str(exc),
        )
    except FleetError as exc:
        emit(WorkPutOff(doing=f"retry job {job.job_id}", error=str(exc)), level=WARNING)
        return
    world.jobs.retries.settle(job.key)


def _retry(world: World, job: Job, intent: Intent) -> None:
    """Decide again on GitLab's answer now: it may have changed since the intent."""
    shown = world.gitlab.job(job.project_id, job.job_id)
    if shown is None:
        return
    facts = facts_now(
        shown.status,
        shown.failure_reason,
        intended_for=intent.failure_reason,
        cancelled=intent.cancelled,
        retried=_ran_again(world, job),
    )
    plan = decide_retry(facts)
    if not plan.retry:
        _record_decision(world, job, plan.reason)
        return
    if plan.cancel_first and rank(shown.status) is not JobStatus.FINISHED:
        world.jobs.retries.note_cancelled(job.key)
        shown = world.gitlab.cancel_job(job.project_id, job.job_id)
        _record_end(world, job, shown)
        if is_cancel_too_late(shown.status):
            _record_decision(world, job, Reason.FINISHED)
            return
    new = world.gitlab.retry_job(job.project_id, job.job_id)
    at = world.clock()
    step = Step(at=at, name=StepName.RETRY, reason=plan.reason, retry_of=job.job_id)
    world.jobs.mark_on_demand(_row_of_retry(job, new), step, at=at)
    _record_decision(world, job, plan.reason, retried_as=new.id)
    emit(JobRetried(job_id=job.job_id, new_job_id=new.id, failure_reason=shown.failure_reason))


def _record_end(world: World, job: Job, shown: GitLabJob) -> None:
    """Record the end of a job that the fleet cancelled: its webhook may be lost."""
    if rank(shown.status) is not JobStatus.FINISHED:
        return
    at = world.clock()
    ended = replace(job, status=JobStatus.FINISHED, outcome=shown.status)
    step = Step(at=at, name=StepName(shown.status), reason=Reason.FINISHED_UNSEEN)
    world.jobs.advance(ended, [step], at=at, facts=facts_shown(shown))


def facts_shown(shown: GitLabJob) -> dict[str, str | None]:
    """What a job's row keeps of GitLab's answer beside the status: its times, why it failed."""
    return {
        "started_at": iso(shown.started_at),
        "finished_at": iso(shown.finished_at),
        "failure_reason": shown.failure_reason if shown.status == "failed" else None,
    }


def _ran_again(world: World, job: Job) -> bool:
    """Whether GitLab shows that the job was retried already; of no known pipeline: no."""
    if job.pipeline_id is None:
        return False
    listed = world.gitlab.pipeline_jobs(job.project_id, job.pipeline_id)
    return ran_again(job, ((other.name, other.id) for other in listed))


def _row_of_retry(job: Job, new: GitLabJob) -> Job:
    key = JobKey(instance=job.key.instance, job_id=new.id)
    return Job(
        key=key,
        project_id=job.project_id,
        project_path=job.project_path,
        name=job.name,
        tags=job.tags,
        status=JobStatus.CREATED,
        outcome=None,
        pending_at=new.created_at or job.pending_at,
        on_demand=True,
        pipeline_id=job.pipeline_id,
    )


def _record_unretried(
    world: World, job: Job, reason: Reason, *, machine_lost: bool, refusal: str | None = None
) -> None:
    """Record why a job is not retried: in its history, and in its row where its machine is lost.

    A lost job is not cancelled: GitLab fails it after an hour without an update of its runner, and
    only then applies `retry:` of the CI file.
    """
    step = Step(at=world.clock(), name=StepName.RETRY, reason=reason, detail=refusal)
    lost = {"reason": Reason.MACHINE_LOST.value} if machine_lost else {}
    world.jobs.extend(job.key, [step], **lost)


def _record_decision(world: World, job: Job, reason: Reason, retried_as: int | None = None) -> None:
    """Record in a job's history why it is retried, or why it is not after all."""
    step = Step(at=world.clock(), name=StepName.RETRY, reason=reason, retried_as=retried_as)
    world.jobs.extend(job.key, [step])
