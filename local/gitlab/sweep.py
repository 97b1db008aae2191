"""What time alone does to jobs: delayed ones start, stuck ones fail, artifacts expire."""

from __future__ import annotations

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
    """Apply every rule of time as of now."""
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
    """Artifacts whose time is over are gone, but for those of a ref's last pipeline."""
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
    """Pending jobs that waited too long, and why they are dropped."""
    limits = engine.options.timeouts
    found = []
    for jobs in engine.index.queue.kinds():
        late = [job for job in jobs if _waited(job, at) > limits.pending_without_runner]
        if not late:
            continue
        lonely = not has_online_runner(late[0], runners, at)
        for job in late:
            if lonely:
                found.append((job, failures.STUCK_NO_RUNNER))
            elif _waited(job, at) > limits.pending:
                found.append((job, failures.STUCK_PENDING))
    return found


def _waited(job: Job, at: datetime) -> timedelta:
    return at - (job.queued_at or job.created_at)


def has_online_runner(job: Job, runners: Runners, at: datetime) -> bool:
    """Whether any runner that may take the job was heard from lately."""
    _, tags, protected = kind_of(job)
    return any(
        may_run(runner, job.project, tags, protected=protected)
        for runner in runners.by_id.values()
        if not runner.paused and runners.is_online(runner, at)
    )


def _silent(engine: PipelineEngine, at: datetime) -> list[tuple[Job, str]]:
    """Jobs under way whose runner is gone or whose time is long over."""
    found = []
    for job in engine.index.under_way.values():
        reason = reason_to_drop(job, at, engine.options.timeouts)
        if reason is not None:
            found.append((job, reason))
    return found


def reason_to_drop(job: Job, at: datetime, limits: Timeouts) -> str | None:
    """Why a running or canceling job is given up at `at`; None to let it be."""
    if job.started_at is None or job.heard_at is None:
        return None
    allowed = timedelta(seconds=job.timeout_s or job.project.build_timeout_s) + limits.grace
    if at - job.started_at > allowed:
        return failures.SERVER_TIMEOUT
    if at - job.heard_at > limits.silent:
        is_canceling = job.status is Status.CANCELING
        return failures.SILENT_CANCELING if is_canceling else failures.SILENT_RUNNING
    return None
