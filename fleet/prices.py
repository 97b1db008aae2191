"""AWS list prices in US dollars, region us-east-1, Linux, without discounts.

Approximations, as published up to August 2026 (`AS_OF`): other regions cost up to half as much
again, and what an account really pays is in its bill. A type that is not in the table has no
price (None) rather than a guess. Sources: aws.amazon.com/<service>/pricing of each service.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

AS_OF = date(2026, 8, 1)

# USD per hour of the size `large`; the other sizes of a family are in proportion.
# Source: aws.amazon.com/ec2/pricing/on-demand
_LARGE_PER_HOUR = {
    family: Decimal(price)
    for family, price in (
        ("t3", "0.0832"),
        ("t3a", "0.0752"),
        ("t4g", "0.0672"),
        ("m6i", "0.096"),
        ("m6a", "0.0864"),
        ("m6g", "0.077"),
        ("m7i", "0.1008"),
        ("m7i-flex", "0.09576"),
        ("m7a", "0.11592"),
        ("m7g", "0.0816"),
        ("m8g", "0.08976"),
        ("c6i", "0.085"),
        ("c6a", "0.0765"),
        ("c6g", "0.068"),
        ("c7i", "0.08925"),
        ("c7i-flex", "0.08479"),
        ("c7a", "0.10264"),
        ("c7g", "0.0725"),
        ("c8g", "0.07976"),
        ("r6i", "0.126"),
        ("r6a", "0.1134"),
        ("r6g", "0.1008"),
        ("r7i", "0.1323"),
        ("r7a", "0.15215"),
        ("r7g", "0.1071"),
        ("r8g", "0.11782"),
    )
}
_OF_LARGE = {
    "nano": Decimal("0.0625"),
    "micro": Decimal("0.125"),
    "small": Decimal("0.25"),
    "medium": Decimal("0.5"),
    "large": Decimal(1),
    "xlarge": Decimal(2),
}
# What spot costs of the on-demand price. It changes by the hour: 0.035 USD for two vCPU and 8 GB
# was usual in 2026. Source: EC2 spot price history.
SPOT_SHARE = Decimal("0.35")
_SHORTEST_BILLED = timedelta(minutes=1)  # source: aws.amazon.com/ec2/pricing, per-second billing
_DISK_PER_GB_HOUR = Decimal("0.08") / 730  # gp3; source: aws.amazon.com/ebs/pricing
_ADDRESS_PER_HOUR = Decimal("0.005")  # public IPv4; source: aws.amazon.com/vpc/pricing

# Source: aws.amazon.com/lambda/pricing, first tier
_LAMBDA_GB_SECOND = {"x86_64": Decimal("0.0000166667"), "arm64": Decimal("0.0000133334")}

_MILLION = Decimal(1_000_000)
_PER_UNIT = {
    "http_api_requests": Decimal("1.00") / _MILLION,  # aws.amazon.com/api-gateway/pricing
    "lambda_requests": Decimal("0.20") / _MILLION,  # aws.amazon.com/lambda/pricing
    "lambda_gb_seconds": _LAMBDA_GB_SECOND["x86_64"],
    "lambda_gb_seconds_arm64": _LAMBDA_GB_SECOND["arm64"],
    "eventbridge_events": Decimal("1.00") / _MILLION,  # aws.amazon.com/eventbridge/pricing
    "schedules": Decimal("1.00") / _MILLION,  # EventBridge Scheduler, same page
    "standard_transitions": Decimal("0.025") / 1000,  # aws.amazon.com/step-functions/pricing
    "express_requests": Decimal("1.00") / _MILLION,
    "express_gb_seconds": Decimal("0.00001667"),
    "sqs_requests": Decimal("0.40") / _MILLION,  # aws.amazon.com/sqs/pricing, standard queues
    "dynamodb_writes": Decimal("0.625") / _MILLION,  # aws.amazon.com/dynamodb/pricing/on-demand
    "dynamodb_reads": Decimal("0.125") / _MILLION,
    "secrets_calls": Decimal("0.05") / 10_000,  # aws.amazon.com/secrets-manager/pricing
    "kms_requests": Decimal("0.03") / 10_000,  # aws.amazon.com/kms/pricing
}
UNITS = tuple(_PER_UNIT)
"""What `control_plane_cost` can count. DynamoDB's are request units, not calls."""


DISK_GB = 50  # of a machine whose pool names no disk_gb, as the launch template says


@dataclass(frozen=True, slots=True, kw_only=True)
class Ec2Use:
    """An EC2 machine and how long it ran, launch to end."""

    instance_type: str
    market: str  # "spot" or "on-demand"
    ran: timedelta
    disk_gb: int = DISK_GB
    has_public_address: bool = True
    usd_per_hour: Decimal | None = None  # what the launch paid, where that is known


@dataclass(frozen=True, slots=True, kw_only=True)
class LambdaUse:
    """A Lambda invocation and how long it ran."""

    memory_gb: int
    ran: timedelta
    architecture: str = "x86_64"


def instance_price(instance_type: str, market: str) -> Decimal | None:
    """USD per hour; spot is an estimate. None for a type that is not in the table."""
    family, _, size = instance_type.partition(".")
    large = _LARGE_PER_HOUR.get(family)
    share = _share_of_large(size)
    if large is None or share is None:
        return None
    return large * share * (SPOT_SHARE if market == "spot" else 1)


def job_cost(use: Ec2Use | LambdaUse) -> Decimal | None:
    """USD of the machine that ran a job, disk and address included; None: no price."""
    if isinstance(use, LambdaUse):
        duration = _seconds(use.ran) * use.memory_gb * _LAMBDA_GB_SECOND[use.architecture]
        return duration + _PER_UNIT["lambda_requests"]
    per_hour = use.usd_per_hour or instance_price(use.instance_type, use.market)
    if per_hour is None:
        return None
    per_hour += use.disk_gb * _DISK_PER_GB_HOUR
    per_hour += _ADDRESS_PER_HOUR if use.has_public_address else 0
    return per_hour * _seconds(max(use.ran, _SHORTEST_BILLED)) / 3600


def control_plane_cost(calls: Mapping[str, int]) -> Decimal:
    """USD of the fleet's own use: `calls` has the number of each of the `UNITS`.

    Raises `ValueError` for a unit that has no price.
    """
    unknown = sorted(calls.keys() - _PER_UNIT.keys())
    if unknown:
        raise ValueError(f"no price for {', '.join(unknown)}; there is one for {', '.join(UNITS)}")
    return sum((_PER_UNIT[unit] * count for unit, count in calls.items()), Decimal(0))


def control_plane_usd_per_1000(calls: Mapping[str, int], jobs: int) -> Decimal:
    """USD of the fleet's own use for 1,000 jobs, from the calls that `jobs` jobs took."""
    return control_plane_cost(calls) * 1000 / max(jobs, 1)


def _share_of_large(size: str) -> Decimal | None:
    several = re.fullmatch(r"([1-9]\d?)xlarge", size)
    return Decimal(several[1]) * 2 if several else _OF_LARGE.get(size)


def _seconds(duration: timedelta) -> Decimal:
    return Decimal(str(duration.total_seconds()))
