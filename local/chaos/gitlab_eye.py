"""Jobs in the simulated GitLab, read in one piece, so that none changes meanwhile."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from local.gitlab.chaos import ChaosOrder
from local.gitlab.model import Job
from local.gitlab.server import SimulatorServer
from local.gitlab.webhooks.hooks import is_executable


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedJob:
    """One job as GitLab has it now."""

    id: int
    name: str
    tag: str
    status: str
    pipeline_id: int
    runner: str | None  # the id of our runner that took it, which its description begins with
    failure_reason: str | None
    is_retried: bool  # a newer job of this name took its place
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None

    def waited_s(self) -> float | None:
        """Seconds from pending to running; None when no runner took it."""
        if self.queued_at is None or self.started_at is None:
            return None
        return (self.started_at - self.queued_at).total_seconds()


class GitLabEye:
    """Questions to the simulator, and orders to its chaos switches."""

    def __init__(self, simulator: SimulatorServer) -> None:
        self._simulator = simulator

    def jobs(self, pipelines: Collection[int]) -> tuple[ObservedJob, ...]:
        """Every job of these pipelines, retried ones included, by id."""
        return self._simulator.ask(
            lambda world: tuple(
                _observed(job) for job in world.ci.jobs.values() if job.pipeline.id in pipelines
            )
        )

    def at_work(self) -> dict[int, str]:
        """Our runner's id for every job that is under way, by job id."""
        return self._simulator.ask(
            lambda world: {job.id: _runner(job) or "" for job in world.ci.index.under_way.values()}
        )

    def pipeline_of(self, ref: str) -> int | None:
        """The newest pipeline of a branch."""
        return self._simulator.ask(
            lambda world: max(
                (id_ for id_, pipeline in world.ci.pipelines.items() if pipeline.ref == ref),
                default=None,
            )
        )

    def hooks_work(self) -> bool:
        """Whether GitLab would call every webhook now."""
        return self._simulator.ask(
            lambda world: all(
                is_executable(hook, world.clock.now()) for hook in world.hooks.by_id.values()
            )
        )

    def order(self, order: ChaosOrder) -> None:
        """Put faults in force: what the order leaves out stays as it is."""
        self._simulator.ask(lambda world: world.disturb(order))


def _observed(job: Job) -> ObservedJob:
    return ObservedJob(
        id=job.id,
        name=job.spec.name,
        tag=next(iter(job.spec.tags), ""),
        status=str(job.status),
        pipeline_id=job.pipeline.id,
        runner=_runner(job),
        failure_reason=job.failure_reason,
        is_retried=job.is_retried,
        queued_at=job.queued_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def _runner(job: Job) -> str | None:
    """A record's description is the runner's id, and the fleet's name in brackets."""
    return job.runner.description.partition(" ")[0] if job.runner else None
