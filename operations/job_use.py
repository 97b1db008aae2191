"""What a job used and cost, for its page: its peak, its price by part, and a hint for its size."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from fleet.job_event import instance_of
from fleet.model import JobKey
from fleet.past import NANO, PastRun
from fleet.rules.costs import parts_of
from fleet.rules.right_size import (
    HINTS,
    decide_fit,
    share_of_cpu,
    share_of_memory,
    size_of_machine,
)
from fleet.usage import Usage
from operations.fleet_handle import Deployed
from operations.trail import Trail

# A machine's run is written when the machine has ended, which is after its job.
ENDS_WITHIN = timedelta(hours=6)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobUse:
    """The use and the cost of one job; None where it is not known, or not yet."""

    memory_peak: int | None  # bytes
    memory_share: float | None  # of the machine's
    cpu_s: float | None
    cpu_share: float | None  # mean of all processors while it ran
    usd: Decimal | None  # of its machine
    boot_usd: Decimal | None
    idle_usd: Decimal | None
    run_usd: Decimal | None
    capacity: str | None
    hint: str


def job_use(deployed: Deployed, trail: Trail) -> JobUse:
    """What a job used, by its machine's report, and what its machine cost once that has ended."""
    run = _run_of(deployed, trail.job_id)
    usage = trail.usage or Usage()
    capacity = run.capacity if run else None
    pool = deployed.config().pool(trail.pool) if trail.pool else None
    size = size_of_machine(pool, capacity)
    booting, idling, running = parts_of(run) if run and run.usd_nano is not None else (None,) * 3
    return JobUse(
        memory_peak=usage.memory_peak,
        memory_share=share_of_memory(usage, size) if size else None,
        cpu_s=usage.cpu_s,
        cpu_share=share_of_cpu(usage, size, trail.ran_s) if size else None,
        usd=run.usd if run else None,
        boot_usd=_usd(booting),
        idle_usd=_usd(idling),
        run_usd=_usd(running),
        capacity=capacity,
        hint=HINTS[decide_fit(usage, size, trail.ran_s)],
    )


def _usd(nano: int | None) -> Decimal | None:
    return None if nano is None else nano * NANO


def _run_of(deployed: Deployed, job_id: int) -> PastRun | None:
    """The run of a job, looked for from the job's end on."""
    instance = instance_of(deployed.config().gitlab.url)
    row = deployed.jobs.row(JobKey(instance=instance, job_id=job_id))
    if row is None or row.finished_at is None:
        return None
    since = row.finished_at - timedelta(minutes=1)
    runs = deployed.history.between(since, row.finished_at + ENDS_WITHIN)
    return next((run for run in runs if run.job_id == job_id and run.had_machine), None)
