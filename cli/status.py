"""`runner-fleet status`: the fleet at a glance, once or again and again."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live

from cli.commands import DEFAULT_STACK, as_called
from cli.consoles import cell, console
from cli.failures import sentence
from cli.lines import say, say_json
from cli.options import Local, Stack, reach
from cli.status_render import render
from fleet.errors import Transient
from operations.fleet_handle import Deployed
from operations.fleet_view import FleetView
from operations.status import gather

EVERY_S = 2.0

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object; with --watch, lines.")]
Watch = Annotated[bool, typer.Option("--watch", help="Show it again every two seconds.")]
Jobs = Annotated[int, typer.Option("--jobs", min=1, max=500, help="How many recent jobs.")]


def status(
    ctx: typer.Context,
    *,
    as_json: AsJson = False,
    watch: Watch = False,
    jobs: Jobs = 20,
    stack: Stack = DEFAULT_STACK,
    _local: Local = False,
) -> None:
    """Show problems (the exit code is then 1), pools, queues, machines and recent jobs.

    Example: runner-fleet status --watch
    """
    deployed = reach(ctx, stack)
    if watch:
        with suppress(KeyboardInterrupt):
            (_print_views if as_json else _draw_views)(deployed, jobs)
        return
    view = _gathered(deployed, jobs)
    if as_json:
        say_json(view.to_json(), indent=2)
    else:
        console().print(render(view))
    if view.problems:
        raise typer.Exit(1)


def _gathered(deployed: Deployed, jobs: int) -> FleetView:
    """The fleet, with the stack in the commands of its problems."""
    view = gather(deployed, jobs=jobs)
    problems = (
        replace(problem, what=as_called(problem.what), do=as_called(problem.do))
        for problem in view.problems
    )
    return replace(view, problems=tuple(problems))


def _print_views(deployed: Deployed, jobs: int) -> None:
    say_json(_gathered(deployed, jobs).to_json())
    for view in _views(deployed, jobs):
        if isinstance(view, Transient):
            say(f"not read: {sentence(view)}", err=True)
        else:
            say_json(view.to_json())


def _draw_views(deployed: Deployed, jobs: int) -> None:
    last = render(_gathered(deployed, jobs))
    with Live(last, console=console(), auto_refresh=False) as live:
        for view in _views(deployed, jobs):
            if isinstance(view, Transient):
                failed = cell(f"not read since: {sentence(view)}", style="red")
                live.update(Group(last, failed), refresh=True)
            else:
                last = render(view)
                live.update(last, refresh=True)


def _views(deployed: Deployed, jobs: int) -> Iterator[FleetView | Transient]:
    """The fleet every two seconds, or why AWS did not answer: watching goes on."""
    while True:
        deployed.pause(EVERY_S)
        try:
            yield _gathered(deployed, jobs)
        except Transient as error:
            yield error
