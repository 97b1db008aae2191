"""`runner-fleet local burst`: many jobs at once, and what they cost in calls."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.consoles import cell, console as open_console, hanging, ok_or_not
from cli.lines import say_json
from cli.options import AsJson
from cli.signals import cleaning_up, temporary_folder
from local.burst.result import CEILING, BurstOptions, BurstResult, Progress
from local.burst.run import burst as run_burst

Jobs = Annotated[int, typer.Option("--jobs", min=1, help="How many jobs.")]
Projects = Annotated[int, typer.Option("--projects", min=1, help="Projects that share the jobs.")]
Credentials = Annotated[
    str, typer.Option("--credentials", help="Runner tokens of the machines: per-machine or shared.")
]
Ceiling = Annotated[int, typer.Option("--ceiling", min=1, help="Most machines at once.")]


def burst(
    jobs: Jobs = 200,
    as_json: AsJson = False,
    projects: Projects = 1,
    credentials: Credentials = "per-machine",
    ceiling: Ceiling = CEILING,
) -> None:
    """Push many jobs at once and count every call that they cost.

    Example: runner-fleet local burst --jobs 400
    """
    if credentials not in {"per-machine", "shared"}:
        raise typer.BadParameter("--credentials must be per-machine or shared")
    console = open_console(as_json=as_json)
    options = BurstOptions(jobs=jobs, projects=projects, credentials=credentials, ceiling=ceiling)
    with (
        cleaning_up(),
        temporary_folder("runner-fleet-burst-") as folder,
        console.status("starting the embedded AWS and the GitLab simulator") as status,
    ):
        result = run_burst(
            folder, options, on_progress=lambda progress: status.update(_line(progress))
        )
    if as_json:
        say_json(result.to_json(), indent=2)
    else:
        _show(console, result)
    raise typer.Exit(0 if result.ok else 1)


def _line(progress: Progress) -> str:
    jobs = ", ".join(f"{count} {status}" for status, count in sorted(progress.jobs.items()))
    return f"{progress.seconds:.0f} s: {jobs or 'no jobs yet'}; {progress.machines} machines"


def _show(console: Console, result: BurstResult) -> None:
    table = Table(title=f"calls of {result.jobs} jobs")
    table.add_column("call")
    table.add_column("number", justify="right")
    table.add_column("per job", justify="right")
    for name, number in result.tally.calls.items():
        table.add_row(name, str(number), f"{number / result.jobs:.2f}")
    table.add_section()
    for name, number in result.tally.guest_calls.items():
        table.add_row(f"machines: {name}", str(number), f"{number / result.jobs:.2f}")
    console.print(table)
    for name, per_job in result.tally.per_job.items():
        console.print(f"{name:20} {per_job:8.2f} per job")
    for key, units in result.tally.partitions.items():
        console.print(cell(f"{units:5.0f} write units in the worst second of {key}"))
    for line in (
        f"{result.finished} of {result.jobs} jobs in {result.seconds:.1f} s "
        f"(all closed after {result.closed_s:.1f} s), "
        f"median wait {result.waited_s['p50']} s, longest {result.waited_s['max']} s",
        f"peak memory {result.peak_memory_mb:.0f} MB",
        f"control plane {result.tally.usd_per_1000:.4f} USD per 1,000 jobs",
    ):
        console.print(line)
    for problem in result.problems:
        console.print(hanging(cell("problem ", style="red"), cell(problem)))
    console.print(ok_or_not(result.ok))
