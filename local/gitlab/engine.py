"""Runs pipelines: creates their jobs, moves them from state to state, starts what may start."""

import secrets
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Protocol

from local.gitlab.ci.types import JobSpec, PipelineSpec
from local.gitlab.failures import UNKNOWN, is_caught
from local.gitlab.job_index import JobIndex
from local.gitlab.model import Job, Pipeline, PipelineRequest, Runner, User
from local.gitlab.options import Clock, Options
from local.gitlab.resources import ResourceGroups
from local.gitlab.states import (
    ANNOUNCED,
    COMPLETED,
    FINISHED,
    TRANSITIONS,
    Counted,
    ImpossibleTransition,
    Status,
    decide_start,
    status_of,
    status_of_needs,
)
from local.gitlab.variables import is_protected


class Listener(Protocol):
    """The receiver of the events that hooks report."""

    def job_moved(self, job: Job) -> None:
        """The job entered a state that sends a Job Hook."""

    def pipeline_moved(self, pipeline: Pipeline) -> None:
        """The pipeline's status changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnd:
    """How a job ended, as the runner or the server reports."""

    status: Status
    failure_reason: str | None = None
    exit_code: int | None = None


class PipelineEngine:
    """All pipelines and jobs of the instance. The listener gets every state that a hook reports."""

    def __init__(self, *, options: Options, clock: Clock, listener: Listener) -> None:
        self.options = options
        self.clock = clock
        self.index = JobIndex()
        self.pipelines: dict[int, Pipeline] = {}
        self.jobs: dict[int, Job] = {}
        self.expiring: dict[int, Job] = {}  # jobs whose artifacts are not for ever
        self._by_token: dict[str, Job] = {}
        self._resources = ResourceGroups()
        self._listener = listener

    def add_pipeline(self, request: PipelineRequest, spec: PipelineSpec) -> Pipeline:
        """A new pipeline with all its jobs; jobs without a wait are pending at once."""
        pipeline = self._record(request, spec)
        for job_spec in spec.jobs:
            self.add_job(pipeline, job_spec, user=request.user)
        self.settle(pipeline)
        return pipeline

    def add_broken_pipeline(self, request: PipelineRequest, error: str) -> Pipeline:
        """A failed pipeline without jobs: what GitLab shows for a CI file it cannot read."""
        pipeline = self._record(request, PipelineSpec(stages=(), jobs=()))
        pipeline.yaml_errors = error
        pipeline.status = Status.FAILED
        pipeline.finished_at = pipeline.created_at
        return pipeline

    def add_skipped_pipeline(
        self, request: PipelineRequest, *, warnings: tuple[str, ...] = ()
    ) -> Pipeline:
        """A pipeline without jobs: what `[skip ci]` in a commit message leaves."""
        pipeline = self._record(request, PipelineSpec(stages=(), jobs=(), warnings=warnings))
        pipeline.status = Status.SKIPPED
        pipeline.finished_at = pipeline.created_at
        return pipeline

    @property
    def next_pipeline_id(self) -> int:
        """The id the next pipeline will have."""
        return len(self.pipelines) + 1

    def _record(self, request: PipelineRequest, spec: PipelineSpec) -> Pipeline:
        project = request.project
        at = self.clock.now()
        pipeline = Pipeline(
            **{each.name: getattr(request, each.name) for each in fields(request)},
            id=self.next_pipeline_id,
            iid=len(project.pipelines) + 1,
            created_at=at,
            updated_at=at,
            stages=spec.stages,
            is_protected=is_protected(request),
            name=spec.name,
            warnings=spec.warnings,
            cancels_on_new_commit=spec.cancels_on_new_commit,
            cancels_on_job_failure=spec.cancels_on_job_failure,
        )
        self.pipelines[pipeline.id] = project.pipelines[pipeline.id] = pipeline
        return pipeline

    def add_job(
        self, pipeline: Pipeline, spec: JobSpec, *, user: User, retries_count: int = 0
    ) -> Job:
        """A created job; a former job of the same name must have been retired before."""
        job = Job(
            id=len(self.jobs) + 1,
            pipeline=pipeline,
            spec=spec,
            token=f"glcbt-64_{secrets.token_hex(10)}",
            user=user,
            created_at=self.clock.now(),
            allow_failure=spec.allow_failure,
            retries_count=retries_count,
        )
        self.jobs[job.id] = job.project.jobs[job.id] = pipeline.jobs[job.id] = job
        self._by_token[job.token] = job
        pipeline.latest[spec.name] = job
        for need in spec.needs or ():
            dependents = pipeline.dependents.setdefault(need.job, [])
            if spec.name not in dependents:
                dependents.append(spec.name)
        self.index.enter(job)
        self._listener.job_moved(job)
        return job

    def job_by_token(self, token: str) -> Job | None:
        """The job a job token belongs to, in any state of the job."""
        return self._by_token.get(token)

    def keep_artifacts(self, job: Job, *, until: datetime | None) -> None:
        """Let the artifacts of the job expire at `until`; with None they stay."""
        job.artifacts_expire_at = until
        if until is None:
            self.expiring.pop(job.id, None)
        else:
            self.expiring[job.id] = job

    def take(self, runner: Runner, *, system_id: str) -> Job | None:
        """The oldest pending job that matches, which runs from now on; None without one."""
        job = self.index.queue.first_for(runner)
        if job is None:
            return None
        at = self.clock.now()
        job.runner, job.system_id, job.heard_at = runner, system_id, at
        wanted = job.spec.timeout_s or job.project.build_timeout_s
        job.timeout_s = int(min(wanted, runner.maximum_timeout_s or wanted))
        runner.jobs[job.id] = job
        self.move(job, Status.RUNNING)
        self.settle(job.pipeline)
        return job

    def finish(self, job: Job, outcome: JobEnd) -> None:
        """End a job; a failed one is retried when its own `retry:` says so."""
        status = Status.CANCELED if job.status is Status.CANCELING else outcome.status
        if status is Status.FAILED:
            job.failure_reason = outcome.failure_reason or UNKNOWN
        job.exit_code = outcome.exit_code
        if outcome.exit_code in job.spec.allow_failure_exit_codes:
            job.pipeline.count(job, -1)
            job.allow_failure = True
            job.pipeline.count(job, 1)
        self.move(job, status)
        if self._is_retried_by_itself(job):
            self.replace(job, user=job.user)
        self.settle(job.pipeline)

    def _is_retried_by_itself(self, job: Job) -> bool:
        if job.status is not Status.FAILED or job.failure_reason is None:
            return False
        retry = job.spec.retry
        caught = is_caught(job.failure_reason, retry.when) or job.exit_code in retry.exit_codes
        return job.retries_count < retry.max and caught

    def replace(self, job: Job, *, user: User, at_once: bool = True) -> Job:
        """A retry of a finished job; later jobs that were skipped wait again.

        It is queued `at_once`, or waits for earlier jobs like a new job.
        """
        pipeline = job.pipeline
        pipeline.count(job, -1)
        job.is_retried = True
        fresh = self.add_job(pipeline, job.spec, user=user, retries_count=job.retries_count + 1)
        for later in self._skipped_after(fresh):
            self.move(later, Status.CREATED)
        if at_once:
            self.enqueue(fresh)
        return fresh

    def _skipped_after(self, job: Job) -> list[Job]:
        pipeline = job.pipeline
        later = set(pipeline.stages[pipeline.stages.index(job.spec.stage) + 1 :])
        reached, front = {job.spec.name}, [job.spec.name]
        while front:
            fresh = [n for n in pipeline.dependents.get(front.pop(), ()) if n not in reached]
            reached.update(fresh)
            front.extend(fresh)
        return [
            other
            for other in pipeline.latest.values()
            if other.status is Status.SKIPPED
            and (other.spec.stage in later or other.spec.name in reached)
        ]

    def enqueue(self, job: Job) -> None:
        """Send the job to the queue, or to wait for its resource group."""
        if job.spec.resource_group:
            self.move(job, Status.WAITING_FOR_RESOURCE)
            if not self._resources.acquire(job):
                return
        self.move(job, Status.PENDING)

    def move(self, job: Job, new: Status) -> None:
        """Change the job's state and everything indexed by it. Raises `ImpossibleTransition`."""
        if new not in TRANSITIONS[job.status]:
            raise ImpossibleTransition(job.id, job.status, new)
        self.index.leave(job)
        job.status = new
        self._stamp(job, self.clock.now())
        self.index.enter(job)
        if new in ANNOUNCED and new is not Status.CREATED:
            self._listener.job_moved(job)
        if new in COMPLETED:
            freed = self._resources.release(job)
            if freed is not None:
                self.move(freed, Status.PENDING)
                if freed.pipeline is not job.pipeline:  # the caller settles its own pipeline
                    self.settle(freed.pipeline)

    def _stamp(self, job: Job, at: datetime) -> None:
        match job.status:
            case Status.PENDING:
                job.queued_at = at
            case Status.RUNNING:
                job.started_at = at
            case Status.SCHEDULED:
                job.scheduled_at = at + timedelta(seconds=job.spec.start_in_s or 0)
            case status if status in FINISHED:
                job.finished_at = at

    def settle(self, pipeline: Pipeline) -> None:
        """Start every job that may start, then update the status of the pipeline."""
        while self._start_by_needs(pipeline) or self._start_by_stage(pipeline):
            pass
        self._update(pipeline)

    def _start_by_stage(self, pipeline: Pipeline) -> bool:
        """Start jobs whose earlier stages are over; whether one started."""
        earlier: set[Counted] = set()
        moved = False
        for stage in pipeline.stages:
            waiting = pipeline.created.get(stage)
            prior = status_of(earlier)
            if waiting and prior in COMPLETED:
                for job in list(waiting.values()):
                    moved = self._start(job, prior) or moved
            earlier.update(pipeline.tallies.get(stage, ()))
        return moved

    def _start_by_needs(self, pipeline: Pipeline) -> bool:
        """Start jobs whose needs are over; whether one started."""
        moved = False
        while pipeline.woken:
            name = next(iter(pipeline.woken))
            del pipeline.woken[name]
            job = pipeline.latest[name]
            if job.status is Status.CREATED:
                moved = self._start(job, self._status_of_needs(job)) or moved
        return moved

    def _start(self, job: Job, prior: Status) -> bool:
        new = decide_start(job.spec.when, prior, by_needs=job.spec.needs is not None)
        if new is None:
            return False
        if new is Status.PENDING:
            self.enqueue(job)
        else:
            self.move(job, new)
        return True

    @staticmethod
    def _status_of_needs(job: Job) -> Status:
        latest = job.pipeline.latest
        needed = {need.job for need in job.spec.needs or ()}
        return status_of_needs({latest[name].counted for name in needed if name in latest})

    def _update(self, pipeline: Pipeline) -> None:
        at = self.clock.now()
        counted = {mark for tally in pipeline.tallies.values() for mark in tally}
        new = status_of(counted)
        if new is Status.RUNNING and pipeline.started_at is None:
            pipeline.started_at = at
        if new is not pipeline.status:
            pipeline.status, pipeline.updated_at = new, at
            pipeline.finished_at = at if new in COMPLETED else None
            self._listener.pipeline_moved(pipeline)
