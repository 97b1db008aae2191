"""`runner-fleet cost`: what machines cost, by pool, project or job."""

from typing import Annotated

import typer
from rich.console import Group, RenderableType

from cli.commands import DEFAULT_STACK
from cli.consoles import NARROW, cell, console, fill, listing, usd
from cli.lines import say_json, say_log
from cli.options import AsJson, Local, Since, Stack, period_of, reach
from fleet.rules.costs import By
from fleet.words import counted
from operations.cost import CostView, cost as cost_of
from operations.durations import duration

SHOWN = 100

Of = Annotated[By, typer.Option("--by", help="One line for each of these.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print comma-separated lines, all of them.")]


def cost(  # noqa: PLR0913  # each is an option of the command
    ctx: typer.Context,
    *,
    by: Of = By.POOL,
    since: Since = "30d",
    as_csv: AsCsv = False,
    as_json: AsJson = False,
    stack: Stack = DEFAULT_STACK,
    _local: Local = False,
) -> None:
    """Say what the machines cost, with boot, idle time and disk shared out.

    Example: runner-fleet cost --by project --since yesterday --csv
    """
    if as_csv and as_json:
        raise typer.BadParameter("choose one of --csv and --json")
    deployed = reach(ctx, stack)
    view = cost_of(deployed, period_of(since, deployed), by)
    if as_json:
        say_json(view.to_json(), indent=2)
    elif as_csv:
        say_log(view.to_csv(), raw=False)
    else:
        out = console()
        out.print(draw(view, width=out.width))


def draw(view: CostView, *, width: int) -> RenderableType:
    """The dearest lines and the sum of all."""
    is_wide = width >= NARROW
    names = [view.by.value, "jobs", "machines", "usd"]
    names += ["boot", "idle", "run", "without a job"] if is_wide else []
    names += ["ran", "usd/job"]
    numbers = set(names[1:])
    table = listing("", *names, whole={*names}, right=numbers)
    rows: list[list[object]] = []
    for line in view.lines[:SHOWN]:
        parts = [line.boot_usd, line.idle_usd, line.run_usd, line.shared_usd] if is_wide else []
        per_job = line.usd / line.jobs if line.jobs else None
        amounts = [usd(amount) for amount in (line.usd, *parts)]
        rows.append(
            [line.name, line.jobs, line.machines, *amounts, duration(line.ran_s), usd(per_job)]
        )
    fill(table, rows, width=width, drop=("machines", "ran", "usd/job", "jobs"))
    more = len(view.lines) - SHOWN
    unpriced = sum(line.unpriced for line in view.lines)
    ends = [
        cell(f"and {more} more: --csv or --json has all") if more > 0 else None,
        cell(
            f"{usd(view.usd)} USD for {counted(view.machines, 'machine')} that ended since"
            f" {view.since:%F %R} UTC; list prices of {view.prices_as_of}, an estimate",
            style="bold",
        ),
        cell(f"{counted(unpriced, 'job')} ran on machines without a known price")
        if unpriced
        else None,
    ]
    return Group(*([table] if view.lines else []), *(end for end in ends if end is not None))
