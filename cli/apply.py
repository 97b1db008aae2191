"""`runner-fleet apply`: put a fleet.toml in force on a deployed stack."""

import os
import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from cli.commands import DEFAULT_STACK, FILE
from cli.lines import say, say_json
from cli.options import AsJson, FileArgument, Local, Stack, Yes, reach
from cli.validate import read_file
from fleet.errors import Refused
from fleet.words import counted
from operations.apply import Applied, apply_to, check_lambda_pools
from operations.executors import allowed_executors, refuse_executors
from operations.gitlab_access import token_in, way_to
from operations.plan import ConfigPlan, KeyChange, PoolChange, plan_config
from operations.token_set import store_token

SIGNS = {"add": "+", "change": "~", "remove": "-"}
NONE_STORED = "the stack has no GitLab token yet: give it one with --gitlab-token-env GITLAB_TOKEN"
TokenEnv = Annotated[
    str | None,
    typer.Option(
        "--gitlab-token-env",
        help="Environment variable with the fleet's GitLab token, to store it in the stack.",
    ),
]


def apply(  # noqa: PLR0913  # a command's parameters are its options
    ctx: typer.Context,
    path: FileArgument = FILE,
    *,
    stack: Stack = DEFAULT_STACK,
    _local: Local = False,
    gitlab_token_env: TokenEnv = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Put a fleet.toml in force, without a deployment.

    It shows what changes, and asks where a pool goes.

    Example: runner-fleet apply --yes
    """
    text, config = read_file(path)  # before any call to AWS
    refuse_executors(config, allowed_executors(os.environ))
    deployed = reach(ctx, stack)
    check_lambda_pools(config, wall=deployed.lambda_wall, largest=deployed.largest_runner)
    planned = plan_config(text, deployed)
    for line in plan_lines(planned) if not as_json else ():
        say(line)
    confirm_removal(planned, yes=yes)
    new_token = token_in(gitlab_token_env) if gitlab_token_env else None
    way = way_to(config.gitlab, path)
    token = new_token or deployed.own_token(NONE_STORED)
    gitlab = deployed.connect(config.gitlab.url, token, way)
    applied = apply_to(deployed, text, gitlab, tls_ca=way.tls_ca)
    if new_token and store_token(deployed, new_token) and not as_json:
        say(f"stored the GitLab token in the secret {deployed.gitlab_secret}")
    warnings = [str(warning) for warning in config.warnings]
    if as_json:
        facts = {"version": applied.version, "is_change": applied.is_change}
        say_json(facts | {"lines": [*lines(applied)], "warnings": warnings}, indent=2)
        return
    for warning in warnings:
        say(f"warning: {warning}", err=True)
    for line in lines(applied):
        say(line)


def confirm_removal(planned: ConfigPlan, *, yes: bool) -> None:
    """Ask where a pool is removed. Raises `Refused` where there is no person to ask."""
    if not planned.removed or yes:
        return
    names = ", ".join(pool.name for pool in planned.removed)
    if not sys.stdin.isatty():
        raise Refused(f"this removes {names}; without a terminal give --yes")
    if not typer.confirm(f"Remove {names}?", default=False):
        raise typer.Exit(1)


def plan_lines(planned: ConfigPlan) -> Iterator[str]:
    """What would change, key by key; nothing for no change."""
    for change in planned.gitlab if planned.before else ():
        yield f"~ gitlab.{_key_line(change)}"
    for pool in planned.pools:
        has = _has(pool)
        yield f"{SIGNS[pool.word]} pool {pool.name}{f': {has}' if has else ''}"
        if pool.word == "change":
            yield from (f"    {_key_line(change)}" for change in pool.keys)


def _key_line(change: KeyChange) -> str:
    before = "not set" if change.before is None else change.before
    after = "not set" if change.after is None else change.after
    return f"{change.key}: {before} -> {after}"


def _has(pool: PoolChange) -> str:
    if pool.word != "remove":
        return ""
    end = "ends after its job" if pool.living == 1 else "end after their jobs"
    go = "goes" if pool.waiting == 1 else "go"
    parts = [f"{counted(pool.living, 'live runner')} {end}"] if pool.living else []
    if pool.waiting:
        parts.append(f"{counted(pool.waiting, 'waiting job')} {go} to another pool that fits")
    return "; ".join(parts)


def lines(applied: Applied) -> Iterator[str]:
    """A line for each change, then the version in force."""
    for word, pools in (
        ("added", applied.added),
        ("changed", applied.changed),
        ("removed", applied.removed),
        ("made the GitLab runner record of", applied.records_made),
        ("updated the GitLab runner record of", applied.records_updated),
        ("deleted the GitLab runner record of", applied.records_deleted),
    ):
        if pools:
            yield f"{word} {', '.join(pools)}"
    if applied.gitlab_changed:
        yield "changed [gitlab]"
    if applied.watched:
        yield f"watching {', '.join(applied.watched)}"
    for pool in applied.leaving:
        yield f"{pool} still has runners, which end after their jobs: apply again later"
    for note in applied.notes:
        yield f"note: {note}"
    state = "in force" if applied.is_change else "in force already, nothing changed"
    yield f"version {applied.version} is {state}"
