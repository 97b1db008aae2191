"""What the account's quotas allow: ceilings that fit them, and those that the pools outgrow."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fleet.config.model import PoolConfig, RunnerSize

# Instance types count against one quota of vCPUs for each market. Source: EC2 "On-Demand Instance
# quotas" and "Spot Instance quotas"; the families A, C, D, H, I, M, R, T, Z are "standard".
STANDARD = frozenset("acdhimrtz")
# The account's concurrent executions that the fleet's own functions need.
OWN_AT_ONCE = 5
OWN_SHARE = 10  # of a large quota, the part that they keep: one tenth
# Accounts with no more than this are new; their functions may have 3,008 MB of memory.
NEW_ACCOUNT_AT_ONCE = 10
_OF_LARGE = {"nano": 2, "micro": 2, "small": 2, "medium": 2, "large": 2, "xlarge": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountQuotas:
    """What AWS allows the account in this region; None where it could not be read."""

    on_demand_vcpus: int | None = None
    spot_vcpus: int | None = None
    lambda_at_once: int | None = None  # concurrent executions of all functions


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstPools:
    """Ceilings and the size of two pools that fit the quotas; 0 where nothing fits."""

    ec2: int
    lambda_: int
    size: RunnerSize


@dataclass(frozen=True, slots=True)
class Quota:
    """A quota of AWS, by its name and its codes in Service Quotas."""

    name: str
    service: str
    code: str
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """A quota that is smaller than what the pools may need at their ceilings."""

    quota: Quota
    allowed: int
    needed: int

    def request(self, region: str) -> str:
        """The command that asks AWS for more."""
        return (
            f"aws service-quotas request-service-quota-increase --region {region}"
            f" --service-code {self.quota.service} --quota-code {self.quota.code}"
            f" --desired-value {self.needed}"
        )


ON_DEMAND = Quota("Running On-Demand Standard instances", "ec2", "L-1216C47A", "vCPUs")
SPOT = Quota("All Standard Spot Instance Requests", "ec2", "L-34B43A08", "vCPUs")
AT_ONCE = Quota("Concurrent executions", "lambda", "L-B99A9384", "invocations at once")


def vcpus(instance_type: str) -> int | None:
    """The vCPUs of an instance type, by its size; None for bare metal and what is not standard."""
    family, _, size = instance_type.partition(".")
    several = re.fullmatch(r"([1-9]\d?)xlarge", size)
    if family[:1] not in STANDARD:
        return None
    return int(several[1]) * 4 if several else _OF_LARGE.get(size)


def own_share(at_once: int) -> int:
    """How many of `at_once` concurrent executions the fleet's own functions keep."""
    return min(at_once, max(OWN_AT_ONCE, -(-at_once // OWN_SHARE)))


def first_pools(quotas: AccountQuotas, instance_types: Sequence[str]) -> FirstPools:
    """Two pools within the quotas, and within 50 machines and 100 Lambda runners."""
    largest = max((vcpus(type_) or 2 for type_ in instance_types), default=2)
    known = [
        allowed // largest
        for allowed in (quotas.on_demand_vcpus, quotas.spot_vcpus)
        if allowed is not None
    ]
    at_once = quotas.lambda_at_once
    room = 100 if at_once is None else at_once - own_share(at_once)
    is_new = at_once is not None and at_once <= NEW_ACCOUNT_AT_ONCE
    return FirstPools(
        ec2=min([50, *known]), lambda_=min(100, room), size="2GB" if is_new else "4GB"
    )


def shortages(pools: Sequence[PoolConfig], quotas: AccountQuotas) -> tuple[Shortage, ...]:
    """The quotas that are too small for all pools at their ceilings at once."""
    return tuple(_shortages(pools, quotas))


def _shortages(pools: Sequence[PoolConfig], quotas: AccountQuotas) -> Iterator[Shortage]:
    machines = [pool for pool in pools if pool.backend == "ec2"]
    spot = sum(_vcpus_of(pool) for pool in machines if pool.market != "on-demand")
    on_demand = sum(_vcpus_of(pool) for pool in machines if pool.market != "spot")
    runners = sum(pool.ceiling for pool in pools if pool.backend == "lambda")
    own = max(OWN_AT_ONCE, -(-runners // (OWN_SHARE - 1)))
    for quota, allowed, needed in (
        (ON_DEMAND, quotas.on_demand_vcpus, on_demand),
        (SPOT, quotas.spot_vcpus, spot),
        (AT_ONCE, quotas.lambda_at_once, runners + own if runners else 0),
    ):
        if allowed is not None and allowed < needed:
            yield Shortage(quota=quota, allowed=allowed, needed=needed)


def _vcpus_of(pool: PoolConfig) -> int:
    return pool.ceiling * max((vcpus(type_) or 0 for type_ in pool.instance_types), default=0)
