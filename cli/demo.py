"""`runner-fleet demo`: the main job, end to end, with no AWS account and no GitLab."""

import time

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live

from cli.consoles import (
    ByWidth,
    cell,
    console as open_console,
    fill,
    hanging,
    joined,
    listing,
    machine_word,
    ok_or_not,
)
from cli.lines import say_json
from cli.machines import MachineForm, Machines, containers
from cli.options import AsJson
from cli.signals import cleaning_up, temporary_folder
from cli.status_render import COLOURS
from local.demo.run import Demo, DemoJob, DemoResult
from local.laptop import Laptop, LaptopOptions
from operations.durations import duration
from operations.trail import sentence_of


def demo(as_json: AsJson = False, machines: Machines = MachineForm.PROCESSES) -> None:
    """Run a pipeline on runners made for it, on this machine, and prove that nothing is left.

    Example: runner-fleet demo --json
    """
    console = open_console(as_json=as_json)
    began_at = time.monotonic()
    with cleaning_up(), temporary_folder("runner-fleet-demo-") as folder:
        with console.status("starting the embedded AWS and the GitLab simulator"):
            laptop = Laptop(folder, LaptopOptions(containers=containers(machines)))
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
    console.print(cell(laptop.about_machines))
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
        console.print(hanging(cell("problem ", style="red"), cell(problem)))
    console.print(joined(ok_or_not(result.ok), cell(f" in {result.seconds:.1f} s")))


def _table(jobs: tuple[DemoJob, ...]) -> RenderableType:
    """Why a job did not succeed stands below the table."""
    return ByWidth(lambda width: drawn(jobs, width))


def drawn(jobs: tuple[DemoJob, ...], width: int) -> RenderableType:
    """A line for each job, as wide as there is room."""
    names = ("job", "outcome", "waited", "ran", "pool", "machine", "gone", "tags")
    rows = [
        (
            job.name,
            cell(job.status, style=COLOURS.get(job.status, "")),
            duration(job.waited_s),
            duration(job.ran_s),
            job.pool or "-",
            machine_word(job.machine),
            "yes" if job.torn_down else "no",
            " ".join(job.tags),
        )
        for job in jobs
    ]
    table = listing("Pipeline", *names, whole=names[:-1])
    fill(table, rows, width=width, drop=("tags",))
    whys = [
        hanging(cell(f"  {job.name}: ", style="dim"), cell(sentence_of(job.reason)))
        for job in jobs
        if job.reason and (job.status == "failed" or job.pool is None)
    ]
    return Group(table, *whys)
