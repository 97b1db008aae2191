"""The effects of time: delayed jobs start, stuck jobs fail, artifacts expire."""

from datetime import datetime, timedelta

from local.gitlab import failures
from local.gitlab.actions import cancel_after_failure
from local.gitlab.engine import JobEnd, PipelineEngine
from local.gitlab.model import Job, Pipeline
from local.gitlab.options import Timeouts
from local.gitlab.queue import kind_of, may_run
from local.gitlab.runners import Runners
from local.gitlab.states import COMPLETED, Status


def sweep(engine: PipelineEngine, runners: Runners) -> None:
    """Apply every rule of time at the present instant."""
    at = engine.clock.now()
    for job in list(engine.index.scheduled.values()):
        if job.scheduled_at is not None and at >= job.scheduled_at:
            engine.enqueue(job)
            engine.settle(job.pipeline)
    for job, reason in [*_stuck(engine, runners, at), *_silent(engine, at)]:
        engine.finish(job, JobEnd(status=Status.FAILED, failure_reason=reason))
        cancel_after_failure(engine, job)
    _drop_expired(engine, at)


def _drop_expired(engine: PipelineEngine, at: datetime) -> None:
    """Delete expired artifacts, except those of a ref's last pipeline."""
    for job in list(engine.expiring.values()):
        expiry = job.artifacts_expire_at
        if expiry is None or (at >= expiry and not _is_last_of_ref(job.pipeline)):
            del engine.expiring[job.id]
            if expiry is not None:
                job.drop_artifacts()


def _is_last_of_ref(pipeline: Pipeline) -> bool:
    """No later pipeline of the ref has ended. Source: GitLab docs, "keep latest artifacts"."""
    kind = "tags" if pipeline.is_tag else "heads"
    own = {pipeline.ref, f"refs/{kind}/{pipeline.ref}"}
    return bool(own & pipeline.project.refs.keys()) and not any(
        later.id > pipeline.id
        and (later.ref, later.is_tag) == (pipeline.ref, pipeline.is_tag)
        and later.status in COMPLETED
        for later in pipeline.project.pipelines.values()
    )


def _stuck(engine: PipelineEngine, runners: Runners, at: datetime) -> list[tuple[Job, str]]:
    """Pending jobs that waited too long, each with its failure reason."""
    limits = engine.options.timeouts
    dropped = []
    for jobs in engine.index.queue.kinds():
        late = [job for job in jobs if _waited(job, at) > limits.pending_without_runner]
        if not late:
            continue
        lonely = not has_online_runner(late[0], runners, at)
        for job in late:
            if lonely:
                dropped.append((job, failures.STUCK_NO_RUNNER))
            elif _waited(job, at) > limits.pending:
                dropped.append((job, failures.STUCK_PENDING))
    return dropped


def _waited(job: Job, at: datetime) -> timedelta:
    return at - (job.queued_at or job.created_at)


def has_online_runner(job: Job, runners: Runners, at: datetime) -> bool:
    """Whether an online runner may take the job."""
    _, tags, protected = kind_of(job)
    return any(
        may_run(runner, job.project, tags, protected=protected)
        for runner in runners.by_id.values()
        if not runner.paused and runners.is_online(runner, at)
    )


def _silent(engine: PipelineEngine, at: datetime) -> list[tuple[Job, str]]:
    """Running jobs of silent runners or long after their timeout, with the reason."""
    dropped = []
    for job in engine.index.under_way.values():
        reason = reason_to_drop(job, at, engine.options.timeouts)
        if reason is not None:
            dropped.append((job, reason))
    return dropped


def reason_to_drop(job: Job, at: datetime, limits: Timeouts) -> str | None:
    """Why a running or canceling job is dropped at `at`; None to keep it."""
    if job.started_at is None or job.heard_at is None:
        return None
    allowed = timedelta(seconds=job.timeout_s or job.project.build_timeout_s) + limits.grace
    if at - job.started_at > allowed:
        return failures.SERVER_TIMEOUT
    if at - job.heard_at > limits.silent:
        is_canceling = job.status is Status.CANCELING
        return failures.SILENT_CANCELING if is_canceling else failures.SILENT_RUNNING
    return None
