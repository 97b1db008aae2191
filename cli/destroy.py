"""`runner-fleet destroy`: remove a fleet, and prove that nothing of it is left."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import typer

from adapters.aws.clients import Clients, clients
from adapters.gitlab.client import GitLab
from cli.commands import DEFAULT_STACK, use_stack
from cli.lines import say, say_json
from cli.options import AsJson, Local, Region, Stack, fleet_if_complete
from fleet.errors import FleetError, Refused
from fleet.words import counted
from operations.account import caller
from operations.destroy import Removal, count_machines, destroy as remove_fleet, remains
from operations.fleet_handle import Deployed, find, gitlab_of

TokenEnv = Annotated[
    str,
    typer.Option(
        "--token-env", help="Environment variable with a GitLab token, else the fleet's own."
    ),
]
WithoutGitLab = Annotated[
    bool,
    typer.Option("--without-gitlab", help="Leave its webhooks and runner records in GitLab."),
]
Confirm = Annotated[
    str | None,
    typer.Option("--confirm", metavar="STACK", help="The stack's name: for scripts."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class DestroyWorld:
    """AWS, and whether a person answers. Tests put their own into the context."""

    aws: Callable[[str], Clients] = field(default=lambda region: clients(region=region))
    asks: bool = field(
        default_factory=lambda: sys.stdin.isatty()  # noqa: PLW0108  # as it is then
    )
    every_s: float = 5.0


def destroy(  # noqa: PLR0913  # a command's parameters are its options
    ctx: typer.Context,
    *,
    stack: Stack = DEFAULT_STACK,
    region: Region = "",
    _local: Local = False,
    confirm: Confirm = None,
    token_env: TokenEnv = "GITLAB_TOKEN",  # noqa: S107  # a variable's name
    without_gitlab: WithoutGitLab = False,
    as_json: AsJson = False,
) -> None:
    """Remove the fleet, and prove that nothing of it is left.

    Machines, runner records, webhooks, secrets, images, buckets, log groups and the stack.
    It may be run again at any point.

    Example: runner-fleet destroy --confirm runner-fleet
    """
    use_stack(stack)
    world = ctx.obj if isinstance(ctx.obj, DestroyWorld) else DestroyWorld()
    aws = world.aws(region)
    identity = caller(aws)
    deployed = fleet_if_complete(find, stack, aws)
    removal = Removal(
        aws=aws,
        stack=stack,
        account=identity.account,
        region=identity.region,
        deployed=deployed,
        gitlab=None if without_gitlab else _gitlab(deployed, token_env),
        every_s=world.every_s,
    )
    where = f"{stack} in account {identity.account}, {identity.region}"
    live = f"{where}: {counted(count_machines(removal), 'live machine')}"
    say(live, err=as_json)
    _confirm_name(world, stack, confirm)
    removed = []
    for step in remove_fleet(removal):
        removed.append({"what": step.what, "names": step.names})
        say(f"{step.what}: {_count(step.names)}", err=as_json)
    left = tuple(remains(removal))
    if as_json:
        remaining = [{"what": kind.what, "names": kind.names} for kind in left]
        say_json({"stack": stack, "removed": removed, "left": remaining}, indent=2)
    for kind in left:
        say(f"left: {kind.what} {', '.join(kind.names)}", err=True)
    if left:
        raise Refused("this is left of the fleet: run the same command again")
    say(f"nothing of {stack} is left", err=as_json)


def _confirm_name(world: DestroyWorld, stack: str, confirm: str | None) -> None:
    """Have the stack's name typed unless `confirm` is it. `Refused` for another name."""
    if confirm is None:
        if not world.asks:
            raise Refused(f"no terminal to ask: give --confirm {stack}")
        confirm = str(typer.prompt("Its jobs end and its history goes. Type the stack's name"))
    if confirm.strip() != stack:
        raise Refused("that is not the stack's name: nothing is removed", stack=stack)


def _gitlab(deployed: Deployed | None, token_env: str) -> GitLab | None:
    """GitLab as the fleet knows it; `Refused` where it would keep what the fleet made there."""
    if deployed is None or deployed.fleet.config() is None:
        return None
    gitlab = gitlab_of(deployed, token_env)
    try:
        if gitlab is not None:
            gitlab.version()
            return gitlab
    except FleetError as error:
        raise Refused(
            f"{error}: without GitLab its webhooks and runner records stay there; give a token"
            f" that works in {token_env}, or --without-gitlab"
        ) from error
    raise Refused(
        "the fleet has no GitLab token, and its webhooks and runner records would stay there:"
        f" put one into {token_env}, or give --without-gitlab"
    )


def _count(names: tuple[str, ...]) -> str:
    if not names:
        return "none"
    more = ", ..." if len(names) > 3 else ""
    return f"{len(names)} ({', '.join(names[:3])}{more})"
