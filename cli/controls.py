"""`runner-fleet pool`, `runner`, `job` and `interrupt`: an operator's orders."""

from datetime import datetime, timedelta
from typing import Annotated

import typer

from cli.commands import DEFAULT_STACK
from cli.consoles import add, cell, console, listing
from cli.explain import Job
from cli.lines import say, say_json
from cli.options import AsJson, Local, Since, Stack, job_named, period_of, reach, wrong_calls
from fleet.errors import Refused
from operations import controls
from operations.controls import Ordered
from operations.fleet_handle import Deployed
from operations.periods import read_length, read_moment

pool = typer.Typer(help="Pause and resume pools, and give them other ceilings for a time.")
runner = typer.Typer(help="End a runner.")
job = typer.Typer(help="Launch again for a job that waits.")

Name = Annotated[str, typer.Argument(help="A pool of fleet.toml.")]
AnyName = Annotated[str | None, typer.Argument(help="A pool of fleet.toml; without one all.")]
Note = Annotated[str, typer.Option("--note", help="Why: `status` and the audit show it.")]
Until = Annotated[
    str | None,
    typer.Option("--until", help="It ends by itself: after 30m, 2h, or at a time (UTC)."),
]
Lasts = Annotated[str, typer.Option("--for", help="How long: 30m, 2h, 7d.")]
Now = Annotated[bool, typer.Option("--now", help="At once, even with a job.")]


@pool.command("pause")
def pause_pool(  # noqa: PLR0913  # each is an option of the command
    ctx: typer.Context,
    name: AnyName = None,
    *,
    note: Note = "",
    until: Until = None,
    as_json: AsJson = False,
    stack: Stack = DEFAULT_STACK,
    _local: Local = False,
) -> None:
    """Launch nothing in a pool, or in any; what runs goes on.

    Example: runner-fleet pool pause docker --note "bad image" --until 2h
    """
    deployed = reach(ctx, stack)
    ends = _until(until, deployed)
    _say(controls.pause(deployed, name, note=note, until=ends), as_json=as_json)


@pool.command("resume")
def resume_pool(
    ctx: typer.Context,
    name: AnyName = None,
    *,
    as_json: AsJson = False,
    stack: Stack = DEFAULT_STACK,
    _local: Local = False,
) -> None:
    """Launch again in a pool; without a name in every pool.

    Example: runner-fleet pool resume docker
    """
    _say(controls.resume(reach(ctx, stack), name), as_json=as_json)


@pool.command("ceiling")
def ceiling_of_pool(  # noqa: PLR0913  # each is an option of the command
    ctx: typer.Context,
    name: Name,
    ceiling: Annotated[
        str, typer.Argument(help="Most machines at once; `reset`: as fleet.toml says.")
    ],
    *,
    lasts: Lasts = "2h",
    note: Note = "",
    as_json: AsJson = False,
    stack: Stack = DEFAULT_STACK,
    _local: Local = False,
) -> None:
    """Give a pool another ceiling for a time.

    Example: runner-fleet pool ceiling docker 200 --for 3h --note "release day"
    """
    deployed = reach(ctx, stack)
    if ceiling == "reset":
        _say(controls.reset_ceiling(deployed, name), as_json=as_json)
        return
    with wrong_calls():
        if not (ceiling.isascii() and ceiling.isdecimal()) or len(ceiling) > 5:
            raise Refused("the ceiling is a whole number from 0 to 10000, or `reset`")
        length = read_length(lasts)
    ordered = controls.set_ceiling(deployed, name, int(ceiling), lasts=length, note=note)
    _say(ordered, as_json=as_json)


@pool.command("acts")
def acts_on_pools(
    ctx: typer.Context,
    *,
    since: Since = "30d",
    as_json: AsJson = False,
    stack: Stack = DEFAULT_STACK,
    _local: Local = False,
) -> None:
    """List who paused, resumed, ended and raised what, and why.

    Example: runner-fleet pool acts --since 7d
    """
    deployed = reach(ctx, stack)
    view = controls.acts(deployed, period_of(since, deployed))
    if as_json:
        say_json(view.to_json(), indent=2)
        return
    if not view.acts:
        say("no order was given")
        return
    table = listing("", "when", "who", "what", "note", whole={"when"})
    for act in view.acts:
        add(table, f"{act.at:%F %T}", act.who, act.what, cell(act.note))
    console().print(table)


@runner.command("end")
def end_runner(  # noqa: PLR0913  # each is an option of the command
    ctx: typer.Context,
    runner_id: Annotated[str, typer.Argument(help="As `runner-fleet runners` shows it.")],
    *,
    now: Now = False,
    note: Note = "",
    as_json: AsJson = False,
    stack: Stack = DEFAULT_STACK,
    _local: Local = False,
) -> None:
    """End a runner after its job; with --now at once, and its job runs again.

    Example: runner-fleet runner end rf-docker-0f3a9c1d2b4e --note "stuck disk"
    """
    _say(controls.end_runner(reach(ctx, stack), runner_id, now=now, note=note), as_json=as_json)


@job.command("relaunch")
def relaunch_job(
    ctx: typer.Context,
    job: Job,
    *,
    as_json: AsJson = False,
    stack: Stack = DEFAULT_STACK,
    _local: Local = False,
) -> None:
    """Give a job that was given up all attempts again; a launch follows within a minute.

    Example: runner-fleet job relaunch acme/web#4711
    """
    reference = job_named(job)
    _say(controls.relaunch(reach(ctx, stack), reference), as_json=as_json)


def interrupt(
    ctx: typer.Context,
    job: Job,
    *,
    as_json: AsJson = False,
    stack: Stack = DEFAULT_STACK,
    _local: Local = False,
) -> None:
    """End the machine of a running job on purpose, as when AWS takes a spot machine back.

    Example: runner-fleet interrupt acme/web#4711
    """
    reference = job_named(job)
    _say(controls.interrupt(reach(ctx, stack), reference), as_json=as_json)


def _say(ordered: Ordered, *, as_json: bool) -> None:
    if as_json:
        say_json({"says": ordered.says, "is_change": ordered.is_change})
    else:
        say(ordered.says)


def _until(until: str | None, deployed: Deployed) -> datetime | None:
    if until is None:
        return None
    at = deployed.clock()
    with wrong_calls():
        ends = read_moment(until, at)
        if ends <= at or ends - at > timedelta(days=365):
            raise Refused(f"{until} is no time within the next year")
    return ends
