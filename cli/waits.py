"""`runner-fleet waits`: how long jobs waited for a runner, stacked by hop."""

from typing import Annotated

import typer
from rich.console import Group, RenderableType

from cli.commands import DEFAULT_STACK, as_called
from cli.consoles import NARROW, add, cell, console, listing
from cli.lines import say_json
from cli.options import AsJson, Local, Since, Stack, period_of, reach, wrong_calls
from fleet.past import WaitHop
from fleet.words import counted
from operations.durations import duration
from operations.periods import read_length
from operations.waits import WaitsView, waits as waits_of

Over = Annotated[str, typer.Option("--over", help="Count the jobs that waited longer: 60s, 5m.")]


def waits(
    ctx: typer.Context,
    *,
    since: Since = "24h",
    over: Over = "60s",
    as_json: AsJson = False,
    stack: Stack = DEFAULT_STACK,
    _local: Local = False,
) -> None:
    """Say how long jobs waited for a runner, and for what: p50, p95 and longest, by hop.

    Example: runner-fleet waits --since 7d --over 2m
    """
    deployed = reach(ctx, stack)
    with wrong_calls():
        over_s = read_length(over).total_seconds()
    view = waits_of(deployed, period_of(since, deployed), over_s=over_s)
    if as_json:
        say_json(view.to_json(), indent=2)
    else:
        out = console()
        out.print(draw(view, width=out.width))


def draw(view: WaitsView, *, width: int) -> RenderableType:
    """A line for each pool, then where the slow jobs of all pools spent their wait."""
    if not view.lines:
        return cell(f"no job was taken since {view.since:%F %R} UTC")
    hops = [hop.value for hop in WaitHop] if width >= NARROW else []
    names = ["pool", "jobs", f"over {duration(view.over_s)}", "p50", "p95", "max", *hops]
    table = listing("", *names, whole=set(names[1:]), right=set(names[1:]))
    for line in view.lines:
        p95 = [duration(hop.at_p95_s) for hop in line.hops] if hops else []
        times = (line.p50_s, line.p95_s, line.max_s)
        add(table, line.name, line.jobs, line.over, *map(duration, times), *p95)
    total = view.lines[0]
    stack = listing("", "hop", "p50", "p95", "max", "of the slowest 5 %", "", right={"p50", "p95"})
    whole_s = sum(hop.at_p95_s for hop in total.hops) or 1.0
    for hop in total.hops:
        add(
            stack,
            hop.hop.value,
            *(duration(seconds) for seconds in (hop.p50_s, hop.p95_s, hop.max_s)),
            f"{duration(hop.at_p95_s)}, {hop.at_p95_s / whole_s:.0%}",
            cell("█" * round(24 * hop.at_p95_s / whole_s)),
        )
    ends = [cell(as_called(f"the longest: `runner-fleet explain {total.slowest}`"))]
    if total.heard_late:
        late = f"{counted(total.heard_late, 'job')} had no webhook: see `runner-fleet status`"
        ends.append(cell(as_called(late)))
    return Group(table, cell(""), stack, *ends)
