"""What is kept of an ended runner and its job: one past run from their rows and steps."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from fleet.config.model import PoolConfig
from fleet.model import Job, Runner
from fleet.past import NANO, PastRun
from fleet.prices import DISK_GB, Ec2Use, LambdaUse, job_cost
from fleet.reasons import Reason
from fleet.steps import Step, StepName
from fleet.times import HasUtcTimes
from fleet.usage import Usage

_HEARD = frozenset({StepName.WEBHOOK_RECEIVED, StepName.RECONCILE_FOUND, StepName.PIPELINE_READ})
MEMORY_GB = 4  # of a Lambda pool that is gone


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPart(HasUtcTimes):
    """A job with what its row has of its history."""

    job: Job
    steps: Sequence[Step] = ()
    started_at: datetime | None = None
    finished_at: datetime | None = None
    failure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePart(HasUtcTimes):
    """An ended runner with its machine's own steps, and why and when it ended."""

    runner: Runner
    steps: Sequence[Step]
    reason: Reason
    ended_at: datetime
    pool: PoolConfig | None = None  # None: fleet.toml has it no more


def past_of_runner(machine: MachinePart, part: JobPart | None) -> PastRun:
    """The past run of a runner; `part`: the job that it had."""
    runner = machine.runner
    own = _first(machine.steps)
    used = next((step.usage for step in machine.steps if step.usage is not None), Usage())
    launched_for = runner.for_job.job_id if runner.for_job else None
    taken_at = _taken_at(part, own) if part else None
    return PastRun(
        id=runner.id,
        ended_at=machine.ended_at,
        pool=runner.pool,
        **_of_job(part),
        project_id=part.job.project_id if part else runner.works_for,
        launched_at=runner.launched_at,
        called_home_at=own.get(StepName.CALLED_HOME),
        taken_at=taken_at,
        first_output_at=own.get(StepName.FIRST_OUTPUT),
        finished_at=(part.finished_at or own.get(StepName.JOB_FINISHED)) if part else None,
        backend=runner.backend,
        machine=runner.machine_id,
        capacity=runner.capacity,
        for_job=launched_for,
        reason=machine.reason.value,
        usd_nano=machine_price(machine),
        cpu_s=used.cpu_s,
        peak_memory_mb=None if used.memory_peak is None else -(-used.memory_peak // (1 << 20)),
    )


def past_of_job(part: JobPart, *, at: datetime) -> PastRun:
    """The past run of a job that ended without a live runner; `at`: when the fleet heard so."""
    ended_at = min(part.finished_at or at, at)
    return PastRun(
        id=f"job-{part.job.job_id}",
        ended_at=ended_at,
        pool=part.job.pool,
        **_of_job(part),
        project_id=part.job.project_id,
        taken_at=part.started_at,
        finished_at=ended_at,
    )


def is_kept(job: Job) -> bool:
    """Whether the end of a job without a live runner is of interest: not one that ran elsewhere.

    Nor one that only events speak of: the holder of a webhook's secret can write those.
    """
    if job.is_hearsay:
        return False
    ran_elsewhere = job.gitlab_runner_id is not None and job.runner_id is None
    return not (ran_elsewhere and job.pool is None)


def machine_price(machine: MachinePart) -> int | None:
    """10**-9 USD from launch to end; None: no price is known; 0: there was no machine."""
    runner = machine.runner
    if runner.machine_id is None:
        return 0
    ended_at = machine.ended_at
    use: Ec2Use | LambdaUse
    if runner.backend == "lambda":
        reported_at = _first(machine.steps).get(StepName.ENDED)  # the invocation returns then
        ran = max(reported_at or ended_at, runner.launched_at) - runner.launched_at
        memory_gb = machine.pool.memory_gb if machine.pool else MEMORY_GB
        use = LambdaUse(memory_gb=memory_gb, ran=ran)
    else:
        instance_type, _, rest = (runner.capacity or "").partition("/")
        use = Ec2Use(
            instance_type=instance_type,
            market=rest.rpartition("/")[2],
            ran=max(ended_at, runner.launched_at) - runner.launched_at,
            usd_per_hour=None if runner.usd_per_hour is None else Decimal(str(runner.usd_per_hour)),
            disk_gb=(machine.pool.disk_gb if machine.pool else None) or DISK_GB,
        )
    usd = job_cost(use)
    return None if usd is None else nano(usd)


def nano(usd: Decimal) -> int:
    """USD as whole 10**-9 USD."""
    return int((usd / NANO).to_integral_value(rounding=ROUND_HALF_EVEN))


def _of_job(part: JobPart | None) -> dict[str, Any]:
    if part is None:
        return {}
    job = part.job
    first_news = min(
        (step for step in part.steps if step.name in _HEARD),
        key=lambda step: step.at,
        default=None,
    )
    first = _first(part.steps)
    return {
        "job_id": job.job_id,
        "name": job.name,
        "project": job.project_path,
        "outcome": job.outcome,
        "failure": part.failure,
        "attempt": job.attempt,
        "pending_at": job.pending_at,
        "heard_at": first_news.at if first_news else None,
        "heard_by": first_news.name.value if first_news else None,
        "routed_at": first.get(StepName.ROUTED),
        "demand_at": first.get(StepName.DEMAND_SENT),
    }


def _taken_at(part: JobPart, own: Mapping[StepName, datetime]) -> datetime | None:
    """GitLab's time of its start, else the machine's, else when GitLab's word arrived."""
    taken = [step.at for step in part.steps if step.name is StepName.TAKEN]
    return part.started_at or own.get(StepName.JOB_TAKEN) or min(taken, default=None)


def _first(steps: Iterable[Step]) -> dict[StepName, datetime]:
    """When each step happened first."""
    first: dict[StepName, datetime] = {}
    for step in steps:
        first[step.name] = min(first.get(step.name, step.at), step.at)
    return first
