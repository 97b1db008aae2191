"""What the account and its region have for Lambda runners: concurrency, tenants, snapshots.

All functions of an account and region share one quota. Runners stay for minutes, so without a limit
of their own they leave nothing to the webhook and the orchestrator.
"""

from dataclasses import dataclass

from fleet.reasons import Reason
from fleet.rules.quotas import own_share

# Lambda refuses a reservation that leaves less to functions without one. Source: Lambda guide,
# "Configuring reserved concurrency".
UNRESERVED_AT_LEAST = 100
USUAL_QUOTA = 1000
# Of a quota that is too small to reserve anything: webhook, route, scale, settle, reconcile, sweep.
CONTROL_PLANE = 6
# Source: announcement of tenant isolation, November 2025: all commercial regions but these.
_WITHOUT_TENANTS = ("ap-southeast-6", "us-gov-", "cn-", "us-iso", "eu-isoe-", "eusc-")
# Source: Lambda guide, "Improving startup performance with Lambda SnapStart": all commercial
# regions but these. What it does not name counts as one of them.
_WITHOUT_SNAPSHOTS = (
    "ap-southeast-6",
    "ap-east-2",
    "us-gov-",
    "cn-",
    "us-iso",
    "eu-isoe-",
    "eusc-",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LambdaQuota:
    """Executions at once: the account's, and those that no function has reserved."""

    executions: int
    unreserved: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencyPlan:
    """What each runner function reserves, which is also the most that it gets; None: nothing."""

    each: int | None
    reason: Reason
    at_once: int  # runners, all functions together, that leave the control plane its share
    left: int  # executions that all other functions of the account share


def decide_concurrency(quota: LambdaQuota, *, functions: int, held: int = 0) -> ConcurrencyPlan:
    """Share the quota among the runner functions. `held`: what they have reserved already."""
    open_to_all = quota.unreserved + held
    # What Lambda insists on is the whole account's; the fleet's own functions get theirs on top.
    free = open_to_all - UNRESERVED_AT_LEAST - own_share(quota.executions)
    each = free // functions if functions else 0
    if each < 1:
        at_once = max(1, open_to_all - CONTROL_PLANE)
        return ConcurrencyPlan(
            each=None, reason=Reason.QUOTA_SMALL, at_once=at_once, left=open_to_all
        )
    at_once = each * functions
    return ConcurrencyPlan(
        each=each, reason=Reason.QUOTA_SHARED, at_once=at_once, left=open_to_all - at_once
    )


def has_tenants(region: str) -> bool:
    """Whether Lambda keeps tenants apart in a region, as far as it is known."""
    return not region.startswith(_WITHOUT_TENANTS)


def has_snapshots(region: str) -> bool:
    """Whether Lambda starts functions from snapshots in a region, as far as it is known."""
    return not region.startswith(_WITHOUT_SNAPSHOTS)
