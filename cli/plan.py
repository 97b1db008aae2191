"""`runner-fleet plan`: what deploy and apply would change, and which quotas are too small."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import typer

from adapters.aws.clients import Clients, clients
from cli.apply import plan_lines
from cli.commands import DEFAULT_STACK, FILE, use_stack
from cli.lines import say, say_json
from cli.options import AsJson, FileArgument, Local, Region, Stack, fleet_if_complete
from cli.validate import read_file
from fleet.prices import AS_OF
from fleet.rules.quotas import Shortage, shortages
from fleet.words import counted
from operations.account import Caller, caller, quotas_of
from operations.fleet_handle import Deployed, find
from operations.lambda_parameters import starts_from_snapshot
from operations.plan import (
    ConfigPlan,
    PlannedMonth,
    StackPlan,
    months,
    plan_config,
    plan_stack,
)
from operations.stacks import parameters_of


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanWorld:
    """AWS. Tests put their own into the context."""

    aws: Callable[[str], Clients] = field(default=lambda region: clients(region=region))
    find: Callable[[str, Clients], Deployed] = find


@dataclass(frozen=True, slots=True, kw_only=True)
class WholePlan:
    """All that `plan` says; its fields are those of `--json`."""

    account: Caller
    stack: StackPlan
    fleet: ConfigPlan
    quotas: tuple[Shortage, ...]
    months: tuple[PlannedMonth, ...]


def plan(
    ctx: typer.Context,
    path: FileArgument = FILE,
    *,
    stack: Stack = DEFAULT_STACK,
    region: Region = "",
    _local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Say what deploy and apply would change, what the fleet costs, and which quotas are too small.

    It changes nothing.

    Example: runner-fleet plan --json
    """
    use_stack(stack)
    world = ctx.obj if isinstance(ctx.obj, PlanWorld) else PlanWorld()
    text, config = read_file(path)
    aws = world.aws(region)
    identity = caller(aws)
    has_snapshot = starts_from_snapshot(identity.region, parameters_of(aws, stack))
    planned = WholePlan(
        account=identity,
        stack=plan_stack(aws, stack),
        fleet=plan_config(text, fleet_if_complete(world.find, stack, aws)),
        quotas=shortages(config.pools, quotas_of(aws)),
        months=months(config.pools, has_snapshot=has_snapshot),
    )
    if as_json:
        say_json(dataclasses.asdict(planned), indent=2)
        return
    for line in lines(stack, planned):
        say(line)


def lines(stack: str, planned: WholePlan) -> Iterator[str]:
    """What it says to people."""
    identity = planned.account
    yield f"stack {stack} in account {identity.account}, {identity.region}: {_stack(planned.stack)}"
    for sign, names in (
        ("+", planned.stack.added if planned.stack.before is not None else ()),
        ("~", planned.stack.changed),
        ("-", planned.stack.removed),
    ):
        yield from (f"{sign} resource {name}" for name in names)
    yield f"pools: {_pools(planned.fleet)}"
    yield from plan_lines(planned.fleet)
    for month in planned.months:
        yield f"a month of {month.jobs} jobs of ten minutes in pool {month.pool}: {_usd(month.usd)}"
    if planned.months:
        yield f"  (list prices of {AS_OF}, us-east-1: docs/cost.md)"
    for short in planned.quotas:
        yield (
            f"quota too small: {short.quota.name} allows {short.allowed} {short.quota.unit},"
            f" all pools at their ceilings need {short.needed}; ask AWS for more:"
        )
        yield f"  {short.request(identity.region)}"


def _usd(usd: float | None) -> str:
    return "no known price" if usd is None else f"{usd:,.2f} USD"


def _stack(plan: StackPlan) -> str:
    if plan.before is None:
        has = counted(len(plan.added), "resource")
        return f"`runner-fleet deploy` makes it, version {plan.after}, {has}"
    if not plan.is_change:
        return f"version {plan.after}, nothing to deploy"
    return f"`runner-fleet deploy` brings it from {plan.before or 'an older'} to {plan.after}"


def _pools(plan: ConfigPlan) -> str:
    if plan.before is None:
        return f"`runner-fleet apply` puts version {plan.after} in force, the first one"
    if plan.before == plan.after:
        return f"version {plan.after} is in force, nothing to apply"
    what = "" if plan.is_change else ", in which only comments differ"
    return f"`runner-fleet apply` puts version {plan.after} in force instead of {plan.before}{what}"
