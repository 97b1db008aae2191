"""`runner-fleet explain`: what happened to a job, hop by hop, and what it waits for."""

from dataclasses import asdict, replace
from typing import Annotated

import typer
from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table

from cli.commands import DEFAULT_STACK, as_called
from cli.consoles import GAP, NARROW, ByWidth, cell, console, hanging, joined
from cli.lines import say, say_json
from cli.options import AsJson, Local, Stack, job_named, reach
from cli.status_render import COLOURS
from operations.durations import duration
from operations.explain import UnknownJob, explain_job
from operations.fleet_handle import gitlab_of
from operations.trail import Trail

Job = Annotated[
    str, typer.Argument(help="A job's id, project#id, or the address of the job's page.")
]
TokenEnv = Annotated[
    str,
    typer.Option(
        "--token-env",
        help="Environment variable with a GitLab token, for jobs that the fleet does not know.",
    ),
]

JUSTIFY: tuple[JustifyMethod, ...] = ("left", "right", "left", "left")


def explain(
    ctx: typer.Context,
    job: Job,
    *,
    as_json: AsJson = False,
    stack: Stack = DEFAULT_STACK,
    _local: Local = False,
    token_env: TokenEnv = "GITLAB_TOKEN",  # noqa: S107  # a variable's name
) -> None:
    """Say what happened to a job, step by step, and why.

    Example: runner-fleet explain acme/web#4711
    """
    reference = job_named(job)
    deployed = reach(ctx, stack)
    answer = _as_called(explain_job(deployed, reference, lambda: gitlab_of(deployed, token_env)))
    if as_json:
        plain = answer.to_json() if isinstance(answer, Trail) else asdict(answer)
        say_json(plain, indent=2)
    elif isinstance(answer, Trail):
        console().print(draw(answer))
    else:
        say(f"Error: {answer.says}", err=True)
        for check in answer.checks:
            say(f"  - {check}", err=True)
    if isinstance(answer, UnknownJob):
        raise typer.Exit(1)


def _as_called(answer: Trail | UnknownJob) -> Trail | UnknownJob:
    """The answer with its commands as the user can call them."""
    if isinstance(answer, Trail):
        return replace(answer, verdict=as_called(answer.verdict), do=as_called(answer.do))
    return replace(answer, checks=tuple(as_called(check) for check in answer.checks))


def draw(trail: Trail) -> RenderableType:
    """The job, a line for each hop, and the last line."""
    tags = f" [{' '.join(trail.tags)}]" if trail.tags else " (no tags)"
    head = hanging(
        cell(f"job {trail.job_id} ", style="bold"),
        joined(
            cell(f"{trail.name} of {trail.project}{tags}: "),
            cell(trail.status, style=COLOURS.get(trail.status, "bold")),
        ),
    )
    where = [f"{hop.at:%F} UTC" for hop in trail.hops[:1]]
    where += [f"pool {trail.pool}" if trail.pool else "no pool", f"attempt {trail.attempt}"]
    where += [name for name in (trail.runner_id, trail.machine) if name]
    where += [f"waited {duration(trail.waited_s)}", f"ran {duration(trail.ran_s)}"]
    last = [hanging(cell("→ ", style="bold"), cell(trail.verdict))]
    if trail.do:
        last.append(hanging(cell("  "), cell(trail.do)))
    if trail.size_hint:
        last.append(hanging(cell("→ ", style="bold"), cell(trail.size_hint)))
    return Group(head, cell(", ".join(where), style="dim"), _hops(trail), *last)


def _hops(trail: Trail) -> RenderableType:
    return ByWidth(lambda width: _table(trail) if width >= NARROW else _lines(trail, width))


def _lines(trail: Trail, width: int) -> RenderableType:
    """A line for each hop, and where it is too long a second one."""
    lines: list[RenderableType] = []
    for hop in trail.hops:
        after = "" if hop.after_s is None else f"+{duration(hop.after_s)}"
        head = joined(
            cell(f"{hop.at:%T}.{hop.at.microsecond // 1000:03}", style="dim"),
            cell(f" {after:>8}  "),
            cell(hop.label, style="bold"),
        )
        if not hop.sentence:
            lines.append(head)
        elif head.cell_len + GAP + len(hop.sentence) <= width:
            lines.append(joined(head, cell(f"  {hop.sentence}")))
        else:
            lines += [head, hanging(cell(" " * 14), cell(hop.sentence))]
    return Group(*lines)


def _table(trail: Trail) -> Table:
    table = Table.grid(padding=(0, 2))
    for index, justify in enumerate(JUSTIFY):
        table.add_column(justify=justify, overflow="fold", no_wrap=index < 3)
    for hop in trail.hops:
        after = "" if hop.after_s is None else f"+{duration(hop.after_s)}"
        table.add_row(
            cell(f"{hop.at:%T}.{hop.at.microsecond // 1000:03}", style="dim"),
            cell(after),
            cell(hop.label, style="bold"),
            cell(hop.sentence),
        )
    return table
