"""Options that several commands share, and the fleet that they name.

A command calls its parameter `_local` or `_as_json` where the option's callback does all.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from adapters.aws.clients import Clients, clients
from cli.commands import FILE, LAPTOP, STACK_VARIABLE, is_local, use_file, use_laptop, use_stack
from cli.lines import say_in_json
from fleet.errors import Refused
from operations.explain import JobReference, read_reference
from operations.fleet_handle import Deployed, find
from operations.periods import PERIOD_FORMS, Period, read_period

Stack = Annotated[
    str,
    typer.Option("--stack", envvar=STACK_VARIABLE, help="Name of the CloudFormation stack."),
]
Since = Annotated[str, typer.Option("--since", help=f"From when on: {PERIOD_FORMS}.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
InJson = Annotated[
    bool,
    typer.Option("--json", callback=say_in_json, help="Print a JSON object for each line."),
]

Region = Annotated[
    str, typer.Option("--region", help="AWS region; by default the environment's or the profile's.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: for scripts.")]


def enter_laptop(is_set: bool) -> bool:
    """Take the addresses and keys of the laptop that runs in this folder, as its `env` has them."""
    use_laptop(is_set)
    if not is_set:
        return is_set
    path = LAPTOP / "env"
    if not path.exists():
        raise Refused("no laptop runs in this folder: start one with `runner-fleet local up`")
    for line in path.read_text().splitlines():
        name, equals, value = line.removeprefix("export ").partition("=")
        if equals:
            os.environ[name] = value.strip("'")
    return is_set


Local = Annotated[
    bool,
    typer.Option(
        "--local",
        is_eager=True,
        callback=enter_laptop,
        help="On the laptop that `local up` keeps running in this folder.",
    ),
]


def take_file(path: Path) -> Path:
    """The fleet.toml of this invocation, which messages name from now on.

    With `--local` it is that of the laptop where the folder itself has none.
    """
    of_laptop = LAPTOP / FILE
    if path == FILE and is_local() and not path.exists() and of_laptop.exists():
        path = of_laptop
    use_file(path)
    return path


def take_existing_file(path: Path) -> Path:
    """The same. Raises `typer.BadParameter` where it is not there."""
    taken, of_laptop = take_file(path), LAPTOP / FILE
    if taken.exists():
        return taken
    if path != FILE:
        raise typer.BadParameter(f"file '{path}' does not exist")
    laptop = f", and that of the laptop here is {of_laptop}" if of_laptop.exists() else ""
    raise typer.BadParameter(f"no {FILE} is here: `runner-fleet init` writes one{laptop}")


FileArgument = Annotated[
    Path,
    typer.Argument(
        dir_okay=False,
        readable=True,
        callback=take_existing_file,
        help="The configuration file.",
    ),
]


def reach(ctx: typer.Context, stack: str) -> Deployed:
    """The fleet of this stack, which messages name from now on."""
    use_stack(stack)
    return ctx.obj if isinstance(ctx.obj, Deployed) else find(stack, clients())


def fleet_if_complete(
    find_fleet: Callable[[str, Clients], Deployed], stack: str, aws: Clients
) -> Deployed | None:
    """The fleet of this stack; None where the stack is gone or was never complete.

    Raises `Refused` where AWS may not be asked.
    """
    try:
        return find_fleet(stack, aws)
    except Refused as error:
        if "code" in error.facts:
            raise
        return None


@contextmanager
def wrong_calls() -> Iterator[None]:
    """Make a `Refused` in here one of the call: the exit code is 2."""
    try:
        yield
    except Refused as error:
        raise typer.BadParameter(str(error)) from error


def job_named(text: str) -> JobReference:
    """The job that a person names; what names none is a wrong call."""
    with wrong_calls():
        return read_reference(text)


def period_of(since: str, deployed: Deployed) -> Period:
    """The period since what a person names."""
    with wrong_calls():
        return read_period(since, deployed.clock())
