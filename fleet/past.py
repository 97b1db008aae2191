"""A past run: what is kept for 90 days of one ended runner and of the job that it had.

A job that ended without a runner of the fleet has one, too, without a machine. Every time is UTC.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from fleet.times import HasUtcTimes, seconds_between

NANO = Decimal("0.000000001")  # USD


class WaitHop(StrEnum):
    """The parts of a job's wait, in order. They follow each other without a gap."""

    WEBHOOK = "webhook"  # from pending in GitLab until the fleet heard of it
    ROUTE = "route"  # until it had a pool
    LAUNCH = "launch"  # until the machine that took it was asked for: ceiling, capacity, holds
    BOOT = "boot"  # until that machine called home
    TAKE = "take"  # until GitLab gave the job to it


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun(HasUtcTimes):
    """One ended runner with the job that it had; or one job that ended without a runner."""

    id: str  # the runner's; of a job without one `job-<id>`
    ended_at: datetime  # the machine's end; without a machine the job's
    pool: str | None
    # The job; None where the runner had none.
    job_id: int | None = None
    name: str = ""
    project_id: int | None = None  # of the job; else of the job that it was launched for
    project: str = ""  # its path
    outcome: str | None = None  # GitLab's word; None: no job, or its end is not known
    failure: str | None = None  # GitLab's `failure_reason`
    attempt: int = 1
    # The hops.
    pending_at: datetime | None = None
    heard_at: datetime | None = None  # by webhook, or from GitLab's list
    heard_by: str | None = None  # the step's name: webhook_received, reconcile_found, pipeline_read
    routed_at: datetime | None = None
    demand_at: datetime | None = None
    launched_at: datetime | None = None  # of the machine, whichever job it was launched for
    called_home_at: datetime | None = None
    taken_at: datetime | None = None
    first_output_at: datetime | None = None
    finished_at: datetime | None = None
    # The machine; None without one.
    backend: str | None = None
    machine: str | None = None  # its id at AWS
    capacity: str | None = None  # m7i.large/subnet-1/spot
    for_job: int | None = None  # the job that it was launched for; None: kept warm
    reason: str | None = None  # why it ended
    usd_nano: int | None = None  # 10**-9 USD, launch to end, disk and address included
    cpu_s: float | None = None  # of processor that the job used, all processors together
    peak_memory_mb: int | None = None

    @property
    def had_job(self) -> bool:
        """Whether there is a job in it."""
        return self.job_id is not None

    @property
    def had_machine(self) -> bool:
        """Whether a runner of the fleet is in it."""
        return self.backend is not None

    @property
    def failed(self) -> bool:
        """Whether its job failed."""
        return self.outcome == "failed"

    @property
    def waited_s(self) -> float | None:
        """From pending until a runner took the job."""
        return seconds_between(self.pending_at, self.taken_at)

    @property
    def ran_s(self) -> float | None:
        """From its start until the job's end."""
        return seconds_between(self.taken_at, self.finished_at)

    @property
    def usd(self) -> Decimal | None:
        """The machine's price; None: not known."""
        return None if self.usd_nano is None else self.usd_nano * NANO

    def hops(self) -> Mapping[WaitHop, float] | None:
        """The wait in seconds by hop, all five; None for a job that no runner of the fleet took.

        The sum is the wait. A time that is not known adds its part to the hop before; a machine
        that was there before the job has no launch and no boot in the job's wait.
        """
        if self.pending_at is None or self.taken_at is None or not self.had_machine:
            return None
        marks = [self.heard_at, self.routed_at, self.launched_at, self.called_home_at]
        after = self.taken_at
        for index in reversed(range(len(marks))):
            after = marks[index] = marks[index] or after
        hops: dict[WaitHop, float] = {}
        before = min(self.pending_at, self.taken_at)
        for hop, mark in zip(WaitHop, [*marks, self.taken_at], strict=True):
            until = min(max(before, mark or before), self.taken_at)
            hops[hop] = (until - before).total_seconds()
            before = until
        return hops


def joined(runs: Iterable[PastRun]) -> list[PastRun]:
    """The runs with each job once, oldest first.

    Where a machine was gone before GitLab said how its job ended, there are two of the job: the
    machine's gets the job's end from the other.
    """
    known: dict[str, PastRun] = {}
    alone: list[PastRun] = []
    for run in runs:
        if run.had_machine:
            known[run.id] = run
        else:
            alone.append(run)
    by_job = {run.job_id: run.id for run in known.values() if run.had_job}
    for run in alone:
        own = by_job.get(run.job_id)
        known[own or run.id] = _completed(known[own], run) if own else run
    return sorted(known.values(), key=lambda run: (run.ended_at, run.id))


def _completed(run: PastRun, ending: PastRun) -> PastRun:
    if run.outcome is not None:
        return run
    return replace(
        run,
        outcome=ending.outcome,
        failure=ending.failure,
        taken_at=run.taken_at or ending.taken_at,
        finished_at=run.finished_at or ending.finished_at,
    )
