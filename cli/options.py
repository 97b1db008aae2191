"""Options that several commands share, and the fleet that they name."""

from typing import Annotated

import typer

from adapters.aws.clients import clients
from cli.commands import STACK_VARIABLE, use_stack
from operations.deployed import Deployed, find

Stack = Annotated[
    str,
    typer.Option("--stack", envvar=STACK_VARIABLE, help="Name of the CloudFormation stack."),
]


def reach(ctx: typer.Context, stack: str) -> Deployed:
    """The fleet of this stack, which messages name from now on."""
    use_stack(stack)
    return ctx.obj if isinstance(ctx.obj, Deployed) else find(stack, clients())
