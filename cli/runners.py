"""`runner-fleet runners`: the runners that live, and with `--since` those that ended."""

from typing import Annotated

import typer
from rich.console import RenderableType

from cli.commands import DEFAULT_STACK
from cli.consoles import NARROW, cell, console, fill, listing, machine_word, usd
from cli.lines import say_json
from cli.options import AsJson, Local, Stack, period_of, reach
from cli.status_render import COLOURS
from operations.durations import duration
from operations.periods import PERIOD_FORMS
from operations.runners import RunnersView, list_runners

Pool = Annotated[str | None, typer.Option("--pool", help="Only the runners of this pool.")]
Since = Annotated[
    str | None, typer.Option("--since", help=f"Also those that ended since then: {PERIOD_FORMS}.")
]


def runners(
    ctx: typer.Context,
    *,
    since: Since = None,
    pool: Pool = None,
    as_json: AsJson = False,
    stack: Stack = DEFAULT_STACK,
    _local: Local = False,
) -> None:
    """List the runners that live; with --since also those that ended.

    Example: runner-fleet runners --since 2h --pool docker
    """
    deployed = reach(ctx, stack)
    period = period_of(since, deployed) if since is not None else None
    view = list_runners(deployed, ended_in=period, pool=pool)
    if as_json:
        say_json(view.to_json(), indent=2)
    else:
        out = console()
        out.print(draw(view, width=out.width))


def draw(view: RunnersView, *, width: int) -> RenderableType:
    """A line for each runner; its id is whole at 80 columns."""
    if not view.runners:
        return cell("no runner")
    is_wide = width >= NARROW
    names = ["runner", "state", "for", "lived", "job"]
    names += ["for job", "machine", "capacity", "usd", "ended because"] if is_wide else ["machine"]
    whole = {"runner", "state", "for", "lived", "job", "for job", "usd", "machine"}
    table = listing("", *names, whole=whole, right={"for", "lived", "usd"})
    rows: list[list[object]] = []
    for line in view.runners:
        since_s = max(0.0, (view.at - line.since).total_seconds())
        cells: list[object] = [
            line.runner_id,
            cell(line.state, style=COLOURS.get(line.state, "")),
            duration(since_s),
            duration(line.lived_s),
            line.job_id or "-",
        ]
        if is_wide:
            cells += [line.for_job or "-", line.machine or "-", line.capacity or "-"]
            cells += [usd(line.usd), line.reason or "-"]
        else:
            cells.append(machine_word(line.machine))
        rows.append(cells)
    drop = ("usd", "for job", "lived", "capacity", "machine") if is_wide else ("lived", "machine")
    fill(table, rows, width=width, drop=drop)
    return table
