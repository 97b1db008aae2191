"""`runner-fleet status`: the fleet at a glance, once or again and again."""

import json
from typing import Annotated

import typer
from rich.live import Live

from cli.consoles import console
from cli.deployed import DEFAULT_STACK, Deployed, Stack, reach
from cli.status_gather import gather
from cli.status_render import render

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
) -> None:
    """Show problems, pools, queues, machines and recent jobs."""
    deployed = reach(ctx, stack)
    try:
        if as_json:
            _print_json(deployed, jobs, watch=watch)
        elif watch:
            _draw_again(deployed, jobs)
        else:
            console().print(render(gather(deployed, jobs=jobs)))
    except KeyboardInterrupt:
        if not watch:
            raise


def _print_json(deployed: Deployed, jobs: int, *, watch: bool) -> None:
    indent = None if watch else 2
    typer.echo(json.dumps(gather(deployed, jobs=jobs).to_json(), indent=indent))
    while watch:
        deployed.pause(EVERY_S)
        typer.echo(json.dumps(gather(deployed, jobs=jobs).to_json()))


def _draw_again(deployed: Deployed, jobs: int) -> None:
    with Live(render(gather(deployed, jobs=jobs)), console=console(), auto_refresh=False) as live:
        while True:
            deployed.pause(EVERY_S)
            live.update(render(gather(deployed, jobs=jobs)), refresh=True)
