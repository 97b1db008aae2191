"""`runner-fleet jobs`: the jobs of a period, ended and open, newest first."""

from typing import Annotated

import typer
from rich.console import Group, RenderableType

from cli.commands import DEFAULT_STACK
from cli.consoles import NARROW, cell, console, fill, hanging, listing, usd
from cli.lines import say_json
from cli.options import AsJson, Local, Since, Stack, period_of, reach
from cli.status_render import COLOURS
from operations.durations import duration
from operations.jobs import AT_MOST, JobQuery, JobsView, ListedJob, list_jobs

SHOWN = 100  # without --limit, where people read it

Project = Annotated[
    str | None, typer.Option("--project", help="A project's id or path, or a group's path.")
]
Pool = Annotated[str | None, typer.Option("--pool", help="Only the jobs of this pool.")]
Failed = Annotated[bool, typer.Option("--failed", help="Only jobs that failed.")]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        max=AT_MOST,
        help=f"Most jobs to list; by default {SHOWN}, with --json all.",
    ),
]


def jobs(  # noqa: PLR0913  # each is an option of the command
    ctx: typer.Context,
    *,
    since: Since = "24h",
    project: Project = None,
    pool: Pool = None,
    failed: Failed = False,
    limit: Limit = None,
    as_json: AsJson = False,
    stack: Stack = DEFAULT_STACK,
    _local: Local = False,
) -> None:
    """List the jobs of a period, ended and open, newest first.

    Example: runner-fleet jobs --since today --failed
    """
    deployed = reach(ctx, stack)
    query = JobQuery(
        period=period_of(since, deployed),
        project=project,
        pool=pool,
        failed=failed,
        limit=limit or (AT_MOST if as_json else SHOWN),
    )
    view = list_jobs(deployed, query)
    if as_json:
        say_json(view.to_json(), indent=2)
    else:
        out = console()
        out.print(draw(view, width=out.width))


def draw(view: JobsView, *, width: int) -> RenderableType:
    """A line for each job, below it why each waits or failed, and how many are left out."""
    if not view.jobs:
        return cell(f"no such job since {view.since:%F %R} UTC")
    is_wide = width >= NARROW
    names = ["job", "status", "at", "waited", "ran", "name", "project"]
    names += ["pool", "usd", "runner", "why"] if is_wide else []
    whole = {"job", "status", "at", "waited", "ran", "usd", "runner"}
    table = listing("", *names, whole=whole, right={"waited", "ran", "usd"})
    rows: list[list[object]] = []
    for job in view.jobs:
        cells: list[object] = [
            job.job_id,
            cell(job.status, style=COLOURS.get(job.status, "")),
            f"{job.at:%m-%d %R}",
            duration(job.waited_s),
            duration(job.ran_s),
            job.name,
            job.project,
        ]
        if is_wide:
            cells += [job.pool or "-", usd(job.usd), job.runner_id or "-", job.why]
        rows.append(cells)
    fill(table, rows, width=width, drop=("usd", "at") if is_wide else ())
    whys = [] if is_wide else [_why(job) for job in view.jobs if job.why]
    more = [cell(f"and {view.left_out} more: see --limit")] if view.left_out else []
    return Group(table, *whys, *more)


def _why(job: ListedJob) -> RenderableType:
    return hanging(cell(f"  {job.job_id}: ", style="dim"), cell(job.why))
