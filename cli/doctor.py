"""`runner-fleet doctor`: every check of a fleet, a line each, with what to do."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import typer

from adapters.aws.clients import Clients, clients
from cli.commands import DEFAULT_STACK, FILE, as_called, use_stack
from cli.lines import say, say_json
from cli.options import AsJson, Local, Region, Stack, take_file
from operations.doctor import Checked, Patient, examine
from operations.fleet_handle import Deployed, find

File = Annotated[
    Path,
    typer.Option("--file", callback=take_file, help="The fleet.toml to compare with the fleet's."),
]
MARKS = {"ok": "ok  ", "warning": "warn", "failure": "BAD "}


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorWorld:
    """AWS. Tests put their own into the context."""

    aws: Callable[[str], Clients] = field(default=lambda region: clients(region=region))
    find: Callable[[str, Clients], Deployed] = find


def doctor(
    ctx: typer.Context,
    *,
    stack: Stack = DEFAULT_STACK,
    region: Region = "",
    path: File = FILE,
    _local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Examine the fleet, a line for each check; the exit code is 1 when something is bad.

    Example: runner-fleet doctor --json
    """
    use_stack(stack)
    world = ctx.obj if isinstance(ctx.obj, DoctorWorld) else DoctorWorld()
    patient = Patient(aws=world.aws(region), stack=stack, file=path, find=world.find)
    checks = []
    for examined in examine(patient):
        checked = replace(examined, todo=as_called(examined.todo))
        checks.append(checked)
        if not as_json:
            show(checked)
    if as_json:
        say_json({"checks": [asdict(check) for check in checks], "ok": is_well(checks)}, indent=2)
    else:
        bad = sum(check.result == "failure" for check in checks)
        warned = sum(check.result == "warning" for check in checks)
        say(f"{len(checks)} checks: {bad} bad, {warned} warnings")
    if not is_well(checks):
        raise typer.Exit(1)


def show(checked: Checked) -> None:
    """One line, and what to do on the next."""
    say(f"{MARKS[checked.result]}  {checked.subject}: {checked.finding}")
    if checked.result != "ok" and checked.todo:
        say(f"      -> {checked.todo}")


def is_well(checks: list[Checked]) -> bool:
    """Whether nothing is bad."""
    return all(check.result != "failure" for check in checks)
