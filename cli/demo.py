"""`runner-fleet demo`: the main job, end to end, with no AWS account and no GitLab."""

import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from cli.consoles import beside, cell, console as open_console, joined, verdict
from cli.lines import say_json
from cli.machines import MachineForm, Machines, containers
from cli.signals import cleaning_up
from local.demo.run import Demo, DemoJob, DemoResult
from local.laptop import Laptop, LaptopOptions

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
_COLOURS = {"success": "green", "failed": "red", "canceled": "yellow", "running": "cyan"}


def demo(as_json: Json = False, machines: Machines = MachineForm.PROCESSES) -> None:
    """Run a pipeline on runners made for it, on this machine, and prove that nothing is left.

    Example: runner-fleet demo --json
    """
    console = open_console(as_json=as_json)
    began_at = time.monotonic()
    with cleaning_up(), tempfile.TemporaryDirectory(prefix="runner-fleet-demo-") as folder:
        with console.status("starting the embedded AWS and the GitLab simulator"):
            laptop = Laptop(Path(folder), LaptopOptions(containers=containers(machines)))
            laptop.start()
        try:
            result = _run(laptop, console, began_at)
        finally:
            laptop.stop()
    if as_json:
        say_json(result.to_json(), indent=2)
    else:
        _show(console, result)
    raise typer.Exit(0 if result.ok else 1)


def _run(laptop: Laptop, console: Console, began_at: float) -> DemoResult:
    console.print(cell(laptop.machines_are))
    console.print(cell(f"webhook {laptop.stack.webhook_url}", f"GitLab  {laptop.gitlab_url}"))
    demo_run = Demo(laptop, began_at=began_at)
    demo_run.prepare()
    pipeline_id = demo_run.push()
    with Live(_table(()), console=console, refresh_per_second=4) as live:
        for jobs in demo_run.watch(pipeline_id):
            live.update(_table(jobs))
        result = demo_run.finish(pipeline_id)
        live.update(_table(result.jobs))
    if not console.is_terminal:
        console.print()  # rich ends a live table without a line's end there
    return result


def _show(console: Console, result: DemoResult) -> None:
    left = result.left
    console.print(
        f"left behind: {left.instances} instances, {left.runners} runner records, "
        f"{left.messages} messages, {left.processes} processes"
    )
    for problem in result.problems:
        console.print(beside(cell("problem ", style="red"), cell(problem)))
    console.print(joined(verdict(result.ok), cell(f" in {result.seconds:.1f} s")))


def _table(jobs: tuple[DemoJob, ...]) -> Table:
    table = Table(title="pipeline")
    for name in ("job", "tags", "pool", "machine", "waited", "ran", "outcome", "torn down", "why"):
        table.add_column(name, no_wrap=name in {"job", "outcome"})
    for job in jobs:
        colour = _COLOURS.get(job.status, "white")
        table.add_row(
            job.name,
            " ".join(job.tags),
            job.pool or "-",
            job.machine or "-",
            _seconds(job.waited_s),
            _seconds(job.ran_s),
            cell(job.status, style=colour),
            "yes" if job.torn_down else "no",
            job.reason or "",
        )
    return table


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"
