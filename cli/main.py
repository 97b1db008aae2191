"""The `runner-fleet` command: its sub-commands, each imported when it is called, and its errors."""

import sys
from importlib import import_module
from importlib.metadata import version
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cli.commands import FILE, PROGRAM, as_called, called, use_file, use_laptop, use_stack
from cli.failures import error_lines
from cli.lines import await_json, say

# Where each command is, and the line that `--help` shows for it: the first of its own help.
# Reading it here keeps `--help` from importing boto3, pydantic and the local engine.
COMMANDS = {
    "init": ("cli.init:init", "Write a first fleet.toml that fits the account."),
    "up": (
        "cli.up:up",
        "Bring the fleet of a fleet.toml up, and prove it with a pipeline; may be repeated.",
    ),
    "deploy": ("cli.deploy:deploy", "Deploy the fleet's template to AWS, or bring it up to date."),
    "image": ("cli.image:app", "The images that machines start from: build, list, use, bake."),
    "import-config": (
        "cli.import_config:import_config",
        "Propose a fleet.toml from a config.toml of gitlab-runner.",
    ),
    "validate": ("cli.validate:validate", "Say everything that is wrong with a fleet.toml."),
    "plan": (
        "cli.plan:plan",
        "Say what deploy and apply would change, what the fleet costs,"
        " and which quotas are too small.",
    ),
    "apply": ("cli.apply:apply", "Put a fleet.toml in force, without a deployment."),
    "token": ("cli.token:app", "The token with which the fleet calls GitLab."),
    "webhook": ("cli.webhook:app", "The webhook through which the fleet hears of jobs."),
    "status": (
        "cli.status:status",
        "Show problems (the exit code is then 1), pools, queues, machines and recent jobs.",
    ),
    "jobs": ("cli.jobs:jobs", "List the jobs of a period, ended and open, newest first."),
    "runners": (
        "cli.runners:runners",
        "List the runners that live; with --since also those that ended.",
    ),
    "cost": (
        "cli.cost:cost",
        "Say what the machines cost, with boot, idle time and disk shared out.",
    ),
    "waits": (
        "cli.waits:waits",
        "Say how long jobs waited for a runner, and for what: p50, p95 and longest, by hop.",
    ),
    "explain": ("cli.explain:explain", "Say what happened to a job, step by step, and why."),
    "pool": (
        "cli.controls:pool",
        "Pause and resume pools, and give them other ceilings for a time.",
    ),
    "runner": ("cli.controls:runner", "End a runner."),
    "job": ("cli.controls:job", "Launch again for a job that waits."),
    "interrupt": (
        "cli.controls:interrupt",
        "End the machine of a running job on purpose, as when AWS takes a spot machine back.",
    ),
    "logs": ("cli.logs:logs", "Print a job's log, once or until the job ends."),
    "dashboard": (
        "cli.dashboard:dashboard",
        "Serve the fleet's pages and metrics on this machine.",
    ),
    "doctor": (
        "cli.doctor:doctor",
        "Examine the fleet, a line for each check; the exit code is 1 when something is bad.",
    ),
    "demo": (
        "cli.demo:demo",
        "Run a pipeline on runners made for it, on this machine, and prove that nothing is left.",
    ),
    "destroy": ("cli.destroy:destroy", "Remove the fleet, and prove that nothing of it is left."),
    "local": ("cli.local:app", "The whole service on this machine."),
}


class LazyGroup(TyperGroup):
    """A group that imports a command when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands in the order in which an operator needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command if it is the called one, else its name with a line of help."""
        if cmd_name in self.commands or cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        return TyperGroup(name=cmd_name, help=COMMANDS[cmd_name][1])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import the command that is called."""
        if args and args[0] in COMMANDS:
            self.add_command(load(args[0]), args[0])
        else:  # so that the error can suggest a name
            self.commands = {name: TyperGroup(name=name) for name in COMMANDS}
        return super().resolve_command(ctx, args)

    def make_context(
        self, info_name: str | None, args: list[str], *others: Any, **extra: Any
    ) -> Any:
        """Read the options before the command; a wrong option is an error of one line."""
        use_stack("")  # an earlier invocation in this process may have named a stack
        use_laptop(None)
        use_file(FILE)
        await_json("--json" in args)
        name = called() if info_name == PROGRAM else info_name
        with error_lines():
            return super().make_context(name, args, *others, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Run it. A foreseen error is a line that says what to do, without a traceback."""
        if isinstance(sys.stdout, TextIOWrapper):  # a missing character is no reason to fail
            sys.stdout.reconfigure(errors="replace")
        with error_lines():
            return super().invoke(ctx)


def load(name: str) -> Any:
    """The command itself."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    command = getattr(import_module(module), attribute)
    if isinstance(command, typer.Typer):
        return _with_help(typer.main.get_group(command))
    alone = typer.Typer(add_completion=False)
    alone.command(name)(command)
    return _with_help(typer.main.get_command(alone))


def _with_help(command: Any) -> Any:
    """The command, whose examples and those of its sub-commands can be called as they stand."""
    command.help = as_called(_reflowed(command.help or ""))
    for inner in getattr(command, "commands", {}).values():
        _with_help(inner)
    return command


def _reflowed(text: str) -> str:
    """Each paragraph on one line: the terminal breaks it where it must."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="GitLab CI runners on AWS, made for the jobs that wait and gone after them.",
)


def say_version(is_set: bool) -> None:
    """Print the version of the installed package, and end."""
    if is_set:
        say(f"runner-fleet {version('gitlab-runner-fleet')}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", callback=say_version, is_eager=True, help="Print the version."),
]


@app.callback()
def main(*, version: Version = False) -> None:
    """GitLab CI runners on AWS, made for the jobs that wait and gone after them."""
