"""The `runner-fleet` command: its sub-commands, each imported when it is called, and its errors."""

import sys
from importlib import import_module
from io import TextIOWrapper
from typing import Any

import typer
from typer.core import TyperGroup

from cli.commands import ask_of
from cli.failures import error_lines

# Where each command is, and the line that `--help` shows for it: the first of its own help.
# Reading it here keeps `--help` from importing boto3, pydantic and the local engine.
COMMANDS = {
    "deploy": ("cli.deploy:deploy", "Deploy the fleet's template to AWS, or bring it up to date."),
    "validate": ("cli.validate:validate", "Say everything that is wrong with a fleet.toml."),
    "apply": ("cli.apply:apply", "Put a fleet.toml in force, without a deployment."),
    "webhook": ("cli.webhook:app", "The webhook that tells the fleet of jobs."),
    "status": (
        "cli.status:status",
        "Show problems (then it ends with 1), pools, queues, machines and recent jobs.",
    ),
    "explain": ("cli.explain:explain", "Tell what happened to a job, step by step, and why."),
    "logs": ("cli.logs:logs", "Print a job's log, once or until the job ends."),
    "demo": (
        "cli.demo:demo",
        "Run a pipeline on runners made for it, on this machine, and prove that nothing is left.",
    ),
    "local": ("cli.local:app", "The whole service on this machine."),
}


class LazyGroup(TyperGroup):
    """A group whose commands are only names until one of them is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order in which somebody needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command if it was called, else a name with one line of help."""
        if cmd_name in self.commands or cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        return TyperGroup(name=cmd_name, help=COMMANDS[cmd_name][1])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import the command that is called."""
        if args and args[0] in COMMANDS:
            self.add_command(load(args[0]), args[0])
        else:  # only so that the error can name the one that was meant
            self.commands = {name: TyperGroup(name=name) for name in COMMANDS}
        return super().resolve_command(ctx, args)

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """Read the options before the command; a wrong one is a line as all errors are."""
        ask_of("")  # another invocation in this process may have named a stack
        with error_lines():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Run it; what the fleet foresaw ends in a line that says what to do, no traceback."""
        if isinstance(sys.stdout, TextIOWrapper):  # what it cannot say is no reason to fail
            sys.stdout.reconfigure(errors="replace")
        with error_lines():
            return super().invoke(ctx)


def load(name: str) -> Any:
    """The command itself."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    found = getattr(import_module(module), attribute)
    if isinstance(found, typer.Typer):
        return typer.main.get_group(found)
    alone = typer.Typer(add_completion=False)
    alone.command(name)(found)
    return typer.main.get_command(alone)


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="GitLab CI runners on AWS, made for the jobs that wait and gone after them.",
)


@app.callback()
def main() -> None:
    """GitLab CI runners on AWS, made for the jobs that wait and gone after them."""
