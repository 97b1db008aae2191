"""What people do to jobs and pipelines: cancel, retry, play."""

from local.gitlab.engine import PipelineEngine
from local.gitlab.model import Job, Pipeline, User
from local.gitlab.states import ACTIVE, COMPLETED, FINISHED, Status

_NOT_STARTED = (
    Status.CREATED,
    Status.WAITING_FOR_RESOURCE,
    Status.PREPARING,
    Status.SCHEDULED,
    Status.PENDING,
)
_PLAYABLE = frozenset({Status.MANUAL, Status.SCHEDULED})


class NotPossible(Exception):
    """The job's state does not allow it; the message is GitLab's."""


def cancel(engine: PipelineEngine, job: Job, *, force: bool = False) -> None:
    """Cancel the job. Its runner learns that from the answer to its next call.

    Where GitLab cancels gracefully and the runner can do it, a running job is canceling until
    its runner reports; `force` ends such a job at once. A job that is over stays as it is.
    """
    _cancel(engine, job, force=force)
    engine.settle(job.pipeline)


def _cancel(engine: PipelineEngine, job: Job, *, force: bool = False) -> None:
    cancelable = {*_NOT_STARTED, Status.RUNNING} | ({Status.CANCELING} if force else set())
    if job.status is Status.RUNNING and _ends_gracefully(engine, job):
        engine.move(job, Status.CANCELING)
    elif job.status in cancelable:
        engine.move(job, Status.CANCELED)


def _ends_gracefully(engine: PipelineEngine, job: Job) -> bool:
    if not engine.options.cancels_gracefully or job.runner is None or job.system_id is None:
        return False
    manager = job.runner.managers.get(job.system_id)
    return manager is not None and manager.cancels_gracefully


def cancel_pipeline(engine: PipelineEngine, pipeline: Pipeline) -> None:
    """Cancel every job that is not over."""
    _cancel_all(engine, pipeline, list(pipeline.latest.values()))


def _cancel_all(engine: PipelineEngine, pipeline: Pipeline, jobs: list[Job]) -> None:
    """Cancel these jobs of a pipeline; those not started first, so that none starts."""
    for status in (*_NOT_STARTED, Status.RUNNING):
        for job in jobs:
            if job.status is status:
                _cancel(engine, job)
    engine.settle(pipeline)


def cancel_redundant(engine: PipelineEngine, newest: Pipeline) -> None:
    """Cancel the pipelines of older commits of the ref, each as its own settings say.

    Source: GitLab, `Ci::PipelineCreation::CancelRedundantPipelinesService`.
    """
    if not newest.project.cancels_redundant:
        return
    for older in list(newest.project.pipelines.values()):
        is_older = older.id < newest.id and older.ref == newest.ref
        if not is_older or older.commit.sha == newest.commit.sha or older.status in COMPLETED:
            continue
        jobs = list(older.latest.values())
        if older.cancels_on_new_commit == "interruptible":
            _cancel_all(engine, older, [job for job in jobs if job.spec.interruptible])
        elif older.cancels_on_new_commit == "conservative" and not _has_begun_for_good(older):
            _cancel_all(engine, older, jobs)


def _has_begun_for_good(pipeline: Pipeline) -> bool:
    begun = (ACTIVE | FINISHED) - {Status.PENDING, Status.CANCELED}
    return any(job.status in begun and not job.spec.interruptible for job in pipeline.jobs.values())


def cancel_after_failure(engine: PipelineEngine, job: Job) -> None:
    """Cancel the rest of the pipeline after a final failure where the pipeline asks for that."""
    pipeline = job.pipeline
    is_final = job.status is Status.FAILED and not job.allow_failure and not job.is_retried
    if is_final and pipeline.cancels_on_job_failure == "all":
        cancel_pipeline(engine, pipeline)


def retry(engine: PipelineEngine, job: Job, *, user: User) -> Job:
    """A new job (new id) for a finished one. Raises `NotPossible`."""
    if job.status not in FINISHED or job.is_retried:
        raise NotPossible("403 Forbidden - Job is not retryable")
    fresh = engine.replace(job, user=user)
    engine.settle(job.pipeline)
    return fresh


def retry_pipeline(engine: PipelineEngine, pipeline: Pipeline, *, user: User) -> None:
    """Retry every failed or canceled job; the skipped jobs wait for them again.

    A job that an earlier stage's retry holds back waits for its turn like the skipped ones.
    """
    for job in list(pipeline.latest.values()):
        if job.status in (Status.FAILED, Status.CANCELED):
            engine.replace(job, user=user, at_once=False)
    engine.settle(pipeline)


def play(engine: PipelineEngine, job: Job, *, user: User) -> None:
    """Start a manual or delayed job now. Raises `NotPossible`."""
    if job.status not in _PLAYABLE:
        raise NotPossible("400 Bad request - Unplayable Job")
    job.user = user
    engine.enqueue(job)
    engine.settle(job.pipeline)
