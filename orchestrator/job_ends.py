"""The end of a job: recorded where no webhook reported it, and what follows from it."""

from dataclasses import dataclass, replace

from adapters.gitlab.values import GitLabJob
from fleet.errors import Refused, Transient
from fleet.events import WARNING, WorkPutOff, emit
from fleet.model import GONE, Job, JobKey, JobStatus, Runner, rank
from fleet.reasons import Reason
from fleet.rules.job_runner import may_cancel, may_have_taken, ran_on
from fleet.rules.retry import may_gitlab_lag
from fleet.steps import Step, StepName
from orchestrator.fits import note_outgrown
from orchestrator.past import keep_end
from orchestrator.retry import facts_shown, retry_if_infra
from orchestrator.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """How far a job is, and what of that was news to the ledger."""

    status: JobStatus
    ended: Job | None = None  # the job as it ended, for the caller that recorded its end
    failure_reason: str | None = None


def record_shown(
    world: World, job: Job, shown: GitLabJob | None, runner: Runner | None
) -> Recorded:
    """Raise the job's row to what GitLab shows, and its runner's row to busy while it runs.

    `shown` is None where GitLab has the job no longer.
    """
    status = JobStatus.FINISHED if shown is None else rank(shown.status)
    if status < JobStatus.RUNNING:
        return Recorded(status=status)
    ended = status is JobStatus.FINISHED
    outcome = (shown.status if shown else GONE) if ended else None
    recorded = replace(
        job,
        status=status,
        outcome=outcome,
        runner_id=runner.id if runner else None,
        gitlab_runner_id=shown.runner_id if shown else None,
        is_hearsay=job.is_hearsay and shown is None,
    )
    at = world.clock()
    step = Step(
        at=at,
        name=StepName(outcome) if outcome else StepName.TAKEN,
        reason=Reason.FINISHED_UNSEEN if ended else Reason.TAKEN_UNSEEN,
        runner=runner.id if runner else None,
    )
    facts = facts_shown(shown) if shown else {}
    is_news = world.jobs.advance(recorded, [step], at=at, facts=facts)
    if runner is not None and not ended:
        world.runners.record_taken(runner, job.key, job.project_id, at=at)
    if runner is not None and ended and runner.job is None:
        # Else it would count as unserved.
        world.runners.record_past_job(runner, job.key, job.project_id)
    if runner is None and ended:
        keep_end(world, job)
    return Recorded(
        status=status,
        ended=recorded if is_news and ended else None,
        failure_reason=facts.get("failure_reason"),
    )


def learn_and_retry(world: World, job: Job, failure_reason: str | None) -> None:
    """Learn from a job's end for the next of its name, and retry it where its machine failed it."""
    note_outgrown(world, job, failure_reason)
    retry_if_infra(world, job, failure_reason)


def retry_lost_jobs(world: World, runner: Runner) -> Runner:
    """Record how the job of a lost machine ended, and retry it where the machine failed it.

    The runner with the job that GitLab says it had. The runner's record must still exist.

    A job that GitLab still shows as running there never ends by itself. It is cancelled and
    retried where the pool says so; otherwise GitLab's own time-outs end it. They also end a job on
    a record that machines share: GitLab does not say on which machine it is. Raises `Transient`
    when GitLab does not answer, or may not know yet what the machine reported to it.
    """
    try:
        for job, shown in _jobs_of(world, runner):
            if _retry_lost(world, runner, job, shown) and runner.job is None:
                runner = replace(runner, job=job.key)
    except Refused as exc:
        emit(WorkPutOff(doing=f"look up the job of {runner.id}", error=str(exc)), level=WARNING)
    return runner


def note_jobs_of(world: World, runner: Runner) -> None:
    """Record the jobs that GitLab shows as running on a runner that does not report them.

    The runner covers no waiting job then. Raises `FleetError` when GitLab does not answer.
    """
    if runner.gitlab_runner_id is not None:
        for shown in world.gitlab.runner_jobs(runner.gitlab_runner_id, status="running"):
            record_shown(world, _job(world, shown), shown, runner)


def _retry_lost(world: World, runner: Runner, job: Job, shown: GitLabJob | None) -> bool:
    """Record and retry a job of the lost machine; False where the machine did not have it."""
    if not ran_on(runner, job, shown):
        return False
    recorded = record_shown(world, job, shown, runner)
    if recorded.ended is not None:
        learn_and_retry(world, recorded.ended, recorded.failure_reason)
    if recorded.status is not JobStatus.RUNNING or not may_cancel(runner, shown):
        return True
    report = world.runners.reports([runner]).get(runner.id)
    if may_gitlab_lag(runner, report, world.clock()):
        raise Transient("GitLab shows a job as running that its machine has finished")
    lost = replace(job, pool=job.pool or runner.pool, outcome=None)
    retry_if_infra(world, lost, None, machine_lost=True)
    return True


def _jobs_of(world: World, runner: Runner) -> list[tuple[Job, GitLabJob | None]]:
    """The jobs that a runner took and the ledger shows as unfinished, as GitLab shows them.

    GitLab is asked where no webhook named the job: after the runner is closed, a late webhook
    would not find it.
    """
    known = world.jobs.job(runner.job) if runner.job is not None else None
    if known is not None:
        if known.status is JobStatus.FINISHED:
            return []
        return [(known, world.gitlab.job(known.project_id, known.job_id))]
    if runner.gitlab_runner_id is None or not may_have_taken(runner):
        return []
    record = runner.gitlab_runner_id
    listed = [replace(shown, runner_id=record) for shown in world.gitlab.runner_jobs(record)]
    jobs = [(_job(world, shown), shown) for shown in listed]
    return [(job, shown) for job, shown in jobs if job.status is not JobStatus.FINISHED]


def _job(world: World, shown: GitLabJob) -> Job:
    key = JobKey(instance=world.instance, job_id=shown.id)
    return world.jobs.job(key) or Job(
        key=key,
        project_id=shown.project_id,
        project_path=shown.project_path(world.config.gitlab.url),
        name=shown.name,
        tags=shown.tags,
        status=JobStatus.PENDING,
        outcome=None,
        pending_at=shown.created_at or world.clock(),
        pipeline_id=shown.pipeline_id,
    )
