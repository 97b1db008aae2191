"""What a month of the fleet costs at list prices, from one function: an estimate, and its parts.

`fleet.prices` has the prices and their date. What is counted here: machines with their disk and
address from launch to end, the fleet's own calls and run time, keys, secrets, alarms and logs. What
is not: traffic, caches in S3, taxes, discounts, and the free tier of an account.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from fleet.prices import DISK_GB, Ec2Use, LambdaUse, control_plane_cost, job_cost

MINUTES = 43_800  # of a month
# Of a template with EC2 pools and Lambda runners; a test counts them there.
ALARMS = 21
DASHBOARDS = 1
SECRETS = 2  # besides one for each pool's record
_ALARM = Decimal("0.10")  # a month; source: aws.amazon.com/cloudwatch/pricing
_SECRET = Decimal("0.40")  # a month; source: aws.amazon.com/secrets-manager/pricing
_KEY = Decimal("1.00")  # a month; source: aws.amazon.com/kms/pricing
_DASHBOARD = Decimal("3.00")  # a month, same page
_METRIC = Decimal("0.30")  # a month, by the hour in which it is sent, same page
_LOG_GB = Decimal("0.50")  # written; source: aws.amazon.com/cloudwatch/pricing
_IMAGE_GB = Decimal("0.10")  # a month in ECR; source: aws.amazon.com/ecr/pricing
# SnapStart of Python functions: keeping and restoring. Source: aws.amazon.com/lambda/pricing,
# us-east-1, as of November 2026.
_SNAPSHOT_GB_SECOND = Decimal("0.0000015046")
_RESTORED_GB = Decimal("0.0001397998")
_STARTS_PER_JOB = 2  # of the webhook, by a job that comes alone
# Lambda writes three lines for each invocation, the fleet hardly one more.
_LOG_GB_PER_INVOCATION = Decimal(1200) / 10**9

# The units of one minute in which nothing happens: reconcile and sweep look. Counted on the laptop
# over four such minutes, with one group's webhook, as `local burst` counts.
PER_TICK: Mapping[str, float] = {
    "express_requests": 1,
    "express_gb_seconds": 0.08,
    "lambda_requests": 2,
    "lambda_gb_seconds": 0.65,
    "dynamodb_reads": 12.4,
    "dynamodb_writes": 2,
    "sqs_requests": 4,
    "secrets_calls": 2,
}
# A minute in which something waits or runs, beyond that: scale looks once. Source:
# infra/machines/scale.asl.yaml, and the run time that the laptop shows.
PER_AWAKE_MINUTE: Mapping[str, float] = {
    "standard_transitions": 4,
    "lambda_requests": 1,
    "lambda_gb_seconds": 1,
    "dynamodb_reads": 12,
    "sqs_requests": 6,
}
# One job that comes alone: webhooks, route, scale, settle. Counted by `local burst --jobs 1`,
# without its tick. In a burst jobs share rounds of scale, and cost a third of it.
PER_JOB: Mapping[str, float] = {
    "http_api_requests": 4,
    "eventbridge_events": 4,
    "lambda_requests": 10,
    "lambda_gb_seconds": 10,
    "express_requests": 4,
    "express_gb_seconds": 0.4,
    "standard_transitions": 4,
    "sqs_requests": 9,
    "dynamodb_reads": 28,
    "dynamodb_writes": 67,
    "schedules": 1,
    "secrets_calls": 6,
    "kms_requests": 2,
}
# Series that a busy fleet sends, and those of each pool.
_METRICS, _METRICS_PER_POOL = 25, 5
# A machine's reports: one each half minute, and a dozen steps.
_MACHINE_WRITES_PER_MINUTE = 2
_MACHINE_WRITES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthUse:
    """A month of a fleet. `awake_h`: hours in which some job waits or runs; None: by the jobs."""

    jobs: int
    runs: timedelta = timedelta(minutes=10)
    instance_type: str | None = "m7i.large"  # None: they run in Lambda
    market: str = "spot"  # or "on-demand"
    disk_gb: int = DISK_GB
    # From CreateFleet to the job, and from its end to the machine's.
    around: timedelta = timedelta(minutes=1, seconds=30)
    memory_gb: int = 4  # in Lambda
    pools: int = 2
    alarms: int = ALARMS
    images_gb: Decimal = Decimal(0)  # of images kept in ECR
    snapshot_gb: Decimal = Decimal("0.5")  # the webhook's memory; 0 where it starts from none
    warm_h: float = 0  # of machines that wait for jobs
    awake_h: float | None = None
    # Jobs come in working hours: 22 days of eight.
    awake_at_most_h: float = 176


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthLine:
    """One part of the bill."""

    what: str
    usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthCost:
    """The parts of an estimate."""

    lines: tuple[MonthLine, ...]

    @property
    def usd(self) -> Decimal:
        """The sum."""
        return sum((line.usd for line in self.lines), Decimal(0))


def month_cost(use: MonthUse) -> MonthCost | None:
    """The cost of a month; None where the instance type has no known price."""
    machines = _machines(use)
    if machines is None:
        return None
    awake_h = _awake_h(use)
    ticks = _counted(PER_TICK, MINUTES)
    awake = _counted(PER_AWAKE_MINUTE, awake_h * 60)
    jobs = _counted(PER_JOB, use.jobs) | {"dynamodb_writes": _writes(use)}
    invocations = sum(units.get("lambda_requests", 0) for units in (ticks, awake, jobs))
    lines = (
        ("machines, with disk and address, boot and end included", machines),
        ("the fleet's own work for jobs", control_plane_cost(jobs)),
        ("scale, while something waits or runs", control_plane_cost(awake)),
        ("reconcile and sweep, once a minute", control_plane_cost(ticks)),
        ("secrets", _SECRET * (SECRETS + use.pools)),
        ("the key that seals credentials", _KEY),
        ("alarms", _ALARM * use.alarms),
        ("the dashboard", _DASHBOARD * DASHBOARDS),
        ("metrics, while something waits or runs", _metrics(use, awake_h)),
        ("logs", _LOG_GB * _LOG_GB_PER_INVOCATION * invocations),
        ("the webhook's snapshot", _snapshot(use, awake_h)),
        ("images in ECR", _IMAGE_GB * use.images_gb),
    )
    return MonthCost(lines=tuple(MonthLine(what=what, usd=usd) for what, usd in lines if usd))


def _machines(use: MonthUse) -> Decimal | None:
    if use.instance_type is None:
        job = job_cost(LambdaUse(memory_gb=use.memory_gb, ran=use.runs))
        return None if job is None else job * use.jobs
    ec2 = {"instance_type": use.instance_type, "market": use.market, "disk_gb": use.disk_gb}
    job = job_cost(Ec2Use(ran=use.runs + use.around, **ec2))  # type: ignore[arg-type]
    hour = job_cost(Ec2Use(ran=timedelta(hours=1), **ec2))  # type: ignore[arg-type]
    if job is None or hour is None:
        return None
    return job * use.jobs + hour * Decimal(str(use.warm_h))


def _awake_h(use: MonthUse) -> float:
    """The hours given; else those that the jobs take one after the other, in working hours."""
    if use.awake_h is not None:
        return use.awake_h
    alone_h = use.jobs * (use.runs + use.around).total_seconds() / 3600
    return max(min(alone_h, use.awake_at_most_h), min(use.warm_h, MINUTES / 60))


def _snapshot(use: MonthUse, awake_h: float) -> Decimal:
    """Kept all month, and restored at most once a minute while something waits or runs."""
    restored = min(_STARTS_PER_JOB * use.jobs, round(awake_h * 60))
    return use.snapshot_gb * (_SNAPSHOT_GB_SECOND * MINUTES * 60 + _RESTORED_GB * restored)


def _metrics(use: MonthUse, awake_h: float) -> Decimal:
    count = _METRICS + _METRICS_PER_POOL * use.pools
    return _METRIC * count * Decimal(str(awake_h * 60)) / MINUTES


def _writes(use: MonthUse) -> int:
    """The ledger's writes for jobs, and those of their machines."""
    machine = _MACHINE_WRITES + _MACHINE_WRITES_PER_MINUTE * use.runs.total_seconds() / 60
    return round(use.jobs * (PER_JOB["dynamodb_writes"] + machine))


def _counted(units: Mapping[str, float], times: float) -> dict[str, int]:
    return {name: round(number * times) for name, number in units.items()}
