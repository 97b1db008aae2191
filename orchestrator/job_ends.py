"""What became of a job, asked of GitLab where no webhook told it."""

from dataclasses import dataclass, replace

from adapters.gitlab.client import GitLabJob
from fleet.errors import Refused, Transient
from fleet.events import WARNING, GitLabRefused, emit
from fleet.model import GONE, Job, JobKey, JobStatus, Runner, rank
from fleet.reasons import Reason
from fleet.rules.job_runner import may_have_taken, ran_on
from fleet.rules.retry import may_gitlab_lag
from fleet.steps import Step, StepName
from orchestrator.retry import retry_if_infra
from orchestrator.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """How far a job is, and what of it was news to the ledger."""

    status: JobStatus
    ended: Job | None = None  # the job as it ended, for the caller that recorded its end
    failure_reason: str | None = None


def record_seen(world: World, job: Job, found: GitLabJob | None, runner: Runner | None) -> Recorded:
    """Raise the job's row to what GitLab shows, and nothing else.

    `found` is None where GitLab has the job no longer.
    """
    status = JobStatus.FINISHED if found is None else rank(found.status)
    if status < JobStatus.RUNNING:
        return Recorded(status=status)
    ended = status is JobStatus.FINISHED
    outcome = (found.status if found else GONE) if ended else None
    seen = replace(
        job,
        status=status,
        outcome=outcome,
        runner_id=runner.id if runner else None,
        gitlab_runner_id=found.runner_id if found else None,
    )
    at = world.clock()
    step = Step(
        at=at,
        name=StepName(outcome) if outcome else StepName.TAKEN,
        reason=Reason.FINISHED_UNSEEN if ended else Reason.TAKEN_UNSEEN,
        runner=runner.id if runner else None,
    )
    failure_reason = found.failure_reason if found and outcome == "failed" else None
    facts = {
        "started_at": found.started_at.isoformat() if found and found.started_at else None,
        "finished_at": found.finished_at.isoformat() if found and found.finished_at else None,
        "failure_reason": failure_reason,
    }
    is_news = world.jobs.advance(seen, [step], at=at, facts=facts)
    if runner is not None and not ended:
        world.runners.took(runner, job.key, job.project_id, at=at)
    return Recorded(
        status=status, ended=seen if is_news and ended else None, failure_reason=failure_reason
    )


def retry_lost_jobs(world: World, runner: Runner) -> None:
    """Record the end of a runner's job that the ledger knows of no end; retry what it failed.

    Its machine is gone. What GitLab still shows as running there will never end by itself: it is
    cancelled and retried where the pool says so, and else left to GitLab's own time-outs. Raises
    `Transient` when GitLab does not answer, or may not know yet what the machine said to it; the
    runner's record must still be there.
    """
    try:
        for job in _jobs_of(world, runner):
            _retry_lost(world, runner, job)
    except Refused as exc:
        emit(GitLabRefused(doing=f"look up the job of {runner.id}", error=str(exc)), level=WARNING)


def note_jobs_of(world: World, runner: Runner) -> None:
    """Record what GitLab shows as running on a runner that cannot say so: it covers nobody then.

    Raises `FleetError` when GitLab does not answer.
    """
    if runner.gitlab_runner_id is not None:
        for found in world.gitlab.runner_jobs(runner.gitlab_runner_id, status="running"):
            record_seen(world, _job(world, found), found, runner)


def _retry_lost(world: World, runner: Runner, job: Job) -> None:
    found = world.gitlab.job(job.project_id, job.job_id)
    if not ran_on(runner, job, found):
        return
    recorded = record_seen(world, job, found, runner)
    if recorded.ended is not None:
        retry_if_infra(world, recorded.ended, recorded.failure_reason)
    if recorded.status is not JobStatus.RUNNING:
        return
    report = world.runners.reports([runner]).get(runner.id)
    if may_gitlab_lag(runner, report, world.clock()):
        raise Transient("GitLab shows a job as running that its machine has finished")
    lost = replace(job, pool=job.pool or runner.pool, outcome=None)
    retry_if_infra(world, lost, None, machine_lost=True)


def _jobs_of(world: World, runner: Runner) -> list[Job]:
    """The unfinished job that it took.

    GitLab is asked for it when the machine died too soon to say so, or when no webhook told of
    the job: its late ones would find nobody left who sees it end.
    """
    known = world.jobs.job(runner.job) if runner.job is not None else None
    if known is not None:
        return [known] if known.status is not JobStatus.FINISHED else []
    if runner.gitlab_runner_id is None or not may_have_taken(runner):
        return []
    jobs = (_job(world, shown) for shown in world.gitlab.runner_jobs(runner.gitlab_runner_id))
    return [job for job in jobs if job.status is not JobStatus.FINISHED]


def _job(world: World, found: GitLabJob) -> Job:
    key = JobKey(instance=world.instance, job_id=found.id)
    return world.jobs.job(key) or Job(
        key=key,
        project_id=found.project_id,
        project_path="",
        name=found.name,
        tags=found.tags,
        status=JobStatus.PENDING,
        outcome=None,
        pending_at=found.created_at or world.clock(),
        pipeline_id=found.pipeline_id,
    )
