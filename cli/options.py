"""What several commands take, and the fleet that it leads to."""

from typing import Annotated

import typer

from adapters.aws.clients import clients
from cli.commands import STACK_VARIABLE, ask_of
from operations.deployed import Deployed, find

Stack = Annotated[
    str,
    typer.Option("--stack", envvar=STACK_VARIABLE, help="Name of the CloudFormation stack."),
]


def reach(ctx: typer.Context, stack: str) -> Deployed:
    """The fleet of this stack; what is told from now on is told for it."""
    ask_of(stack)
    return ctx.obj if isinstance(ctx.obj, Deployed) else find(stack, clients())
