"""Jobs in the simulated GitLab, read in one piece, so that none changes meanwhile."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from urllib.request import Request, urlopen

from local.gitlab.chaos import ChaosOrder
from local.gitlab.model import Job
from local.gitlab.server import SimulatorServer
from local.gitlab.webhooks.hooks import is_executable
from local.gitlab.world import GitLabWorld

_TIMEOUT_S = 10.0
UNDER_WAY = frozenset({"running", "canceling"})


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSeen:
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

    def jobs(self, pipelines: Collection[int]) -> tuple[JobSeen, ...]:
        """Every job of these pipelines, retried ones included, by id."""

        def look(world: GitLabWorld) -> tuple[JobSeen, ...]:
            jobs = world.ci.jobs.values()
            return tuple(_seen(job) for job in jobs if job.pipeline.id in pipelines)

        return self._simulator.ask(look)

    def at_work(self) -> dict[int, str]:
        """Our runner's id for every job that is under way, by job id."""

        def look(world: GitLabWorld) -> dict[int, str]:
            return {job.id: _runner(job) or "" for job in world.ci.index.under_way.values()}

        return self._simulator.ask(look)

    def pipeline_of(self, ref: str) -> int | None:
        """The newest pipeline of a branch."""

        def look(world: GitLabWorld) -> int | None:
            return max((p.id for p in world.ci.pipelines.values() if p.ref == ref), default=None)

        return self._simulator.ask(look)

    def hooks_work(self) -> bool:
        """Whether GitLab would call every webhook now."""

        def look(world: GitLabWorld) -> bool:
            at = world.clock.now()
            return all(is_executable(hook, at) for hook in world.hooks.by_id.values())

        return self._simulator.ask(look)

    def order(self, order: ChaosOrder) -> None:
        """Put faults in force: what the order leaves out stays as it is."""
        body = order.model_dump_json(exclude_none=True).encode()
        headers = {
            "Content-Type": "application/json",
            "PRIVATE-TOKEN": self._simulator.root_token,
        }
        url = f"{self._simulator.url}/_sim/chaos"
        request = Request(url, data=body, headers=headers, method="POST")  # noqa: S310  loopback
        with urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
            json.load(answer)


def _seen(job: Job) -> JobSeen:
    return JobSeen(
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
