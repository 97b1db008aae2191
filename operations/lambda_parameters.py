"""Parameters of the template that follow from what the account and its region have for Lambda."""

from collections.abc import Mapping
from dataclasses import dataclass

from adapters.aws.clients import Clients
from fleet.errors import FleetError, Refused
from fleet.reasons import SENTENCES, Reason
from fleet.rules.lambda_account import (
    USUAL_QUOTA,
    decide_concurrency,
    has_snapshots,
    has_tenants,
)
from fleet.rules.quotas import NEW_ACCOUNT_AT_ONCE
from operations.account import lambda_quota

KINDS_OF_POOL = 2  # open and protected_only ones have functions of their own
_SIZES = ("2gb", "4gb", "8gb")  # of `LargestRunner`
LIMIT, TENANTS, LARGEST, IMAGE, SNAPSHOT = (
    "RunnerConcurrency",
    "TenantIsolation",
    "LargestRunner",
    "LambdaImage",
    "WebhookSnapStart",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LambdaParameters:
    """Parameters of the template that follow from the account, and what to tell the operator."""

    parameters: Mapping[str, str]
    notes: tuple[str, ...] = ()


def lambda_parameters(
    aws: Clients, given: Mapping[str, str], before: Mapping[str, str] | None
) -> LambdaParameters:
    """The parameters that the operator does not give. `before`: the stack's own; None: a new one.

    A value that the stack has is kept. Raises `Refused` where the given ones cannot work.
    """
    new = dict(before or {}) | dict(given)
    region = aws.functions.meta.region_name
    parameters: dict[str, str] = {}
    notes: list[str] = []
    if SNAPSHOT not in new and not starts_from_snapshot(region, new):
        parameters[SNAPSHOT] = "false"
        notes.append(
            f"Lambda in {region} starts no function from a snapshot: the webhook's first answer"
            f" takes about a second; --parameter {SNAPSHOT}=true tries it anyway"
        )
    if not new.get(IMAGE):
        return LambdaParameters(parameters=parameters, notes=tuple(notes))
    _tenants(region, given, before, parameters, notes)
    if not new.get(LIMIT):
        _concurrency(aws, new, LIMIT in given, parameters, notes)
    return LambdaParameters(parameters=parameters, notes=tuple(notes))


def starts_from_snapshot(region: str, parameters: Mapping[str, str]) -> bool:
    """Whether the webhook of a stack with these parameters does, or of one without any yet."""
    return parameters.get(SNAPSHOT, str(has_snapshots(region)).lower()) == "true"


def _tenants(
    region: str,
    given: Mapping[str, str],
    before: Mapping[str, str] | None,
    parameters: dict[str, str],
    notes: list[str],
) -> None:
    has_functions = bool((before or {}).get(IMAGE))
    old = (before or {}).get(TENANTS)
    if has_functions and old is not None and given.get(TENANTS, old) != old:
        raise Refused(
            f"{TENANTS} is fixed when functions are made: deploy with --parameter {IMAGE}= once,"
            " then with both",
            is_now=old,
        )
    if TENANTS not in given and not has_functions and not has_tenants(region):
        parameters[TENANTS] = "false"
        notes.append(
            f"Lambda in {region} has no tenant isolation: a sandbox may serve several projects one"
            f" after another; --parameter {TENANTS}=true tries it anyway"
        )


def _concurrency(
    aws: Clients,
    new: Mapping[str, str],
    is_chosen: bool,
    parameters: dict[str, str],
    notes: list[str],
) -> None:
    try:
        quota = lambda_quota(aws)
    except FleetError as error:
        notes.append(f"the account's Lambda quota is not known, so nothing is reserved: {error}")
        return
    sizes = _SIZES.index(new.get(LARGEST) or _SIZES[-1]) + 1
    if quota.executions <= NEW_ACCOUNT_AT_ONCE and sizes > 1:
        notes.append(
            "a new account may have no function above 3,008 MB: if Lambda refuses it, deploy"
            f" with --parameter {LARGEST}={_SIZES[0]}"
        )
    plan = decide_concurrency(quota, functions=sizes * KINDS_OF_POOL)
    if plan.each is not None and not is_chosen:
        parameters[LIMIT] = str(plan.each)
        notes.append(
            f"each of {sizes * KINDS_OF_POOL} functions of Lambda runners gets {plan.each} of the"
            f" account's {quota.executions} executions at once; {plan.left} are left to"
            f" the rest ({LIMIT})"
        )
    if quota.executions < USUAL_QUOTA:
        notes.append(
            f"this account may run {quota.executions} Lambda functions at once:"
            f" {SENTENCES[plan.reason]}. Ask for {USUAL_QUOTA} (Service Quotas, AWS Lambda,"
            " Concurrent executions)"
            + (
                f"; until then keep the ceilings of all Lambda pools together at {plan.at_once}"
                if plan.reason is Reason.QUOTA_SMALL
                else ""
            )
        )
