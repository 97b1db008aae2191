"""`runner-fleet validate`: everything that is wrong with a fleet.toml, before it is applied."""

import codecs
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Annotated

import typer

from cli.commands import FILE
from cli.lines import say, say_json
from cli.options import AsJson, FileArgument
from fleet.config.file_limits import LARGEST
from fleet.config.reading import ConfigError, FleetConfig, read_config
from fleet.errors import Refused
from fleet.words import counted
from operations.clock import now
from operations.fleet_handle import Deployed
from operations.gitlab_access import connect, token_in, way_to
from operations.token_check import TokenNeed, check_token

Live = Annotated[
    bool, typer.Option("--live", help="Ask GitLab whether the fleet's token may do what it needs.")
]
TokenEnv = Annotated[
    str, typer.Option("--token-env", help="Environment variable that holds that token.")
]
MARKS = {True: "yes", False: "NO", None: "?"}


def validate(
    ctx: typer.Context,
    path: FileArgument = FILE,
    *,
    live: Live = False,
    token_env: TokenEnv = "GITLAB_TOKEN",  # noqa: S107  # a variable's name
    as_json: AsJson = False,
) -> None:
    """Say everything that is wrong with a fleet.toml.

    Example: runner-fleet validate --live
    """
    try:
        _, config = read_file(path)
    except ConfigError as error:
        if as_json:
            _say_json(str(path), None, tuple(map(str, error.problems)), ())
            raise typer.Exit(1) from error
        raise
    if as_json:
        needs = _ask(ctx, config, path, token_env) if live else ()
        _say_json(str(path), config, (), needs)
        if any(need.is_met is False for need in needs):
            raise typer.Exit(1)
        return
    for warning in config.warnings:
        say(f"warning: {warning}", err=True)
    say(f"{path}: valid, {_count(config)}, version {config.version}")
    say("the fleet's GitLab token needs:")
    for need in config.needs_token_scopes():
        may = " (if you like)" if need.is_optional else ""
        say(f"  {need.scope:14} {need.why}{may}")
    if live:
        _show(_ask(ctx, config, path, token_env))


def _ask(
    ctx: typer.Context, config: FleetConfig, path: Path, token_env: str
) -> tuple[TokenNeed, ...]:
    """What GitLab says of the token of the environment."""
    known = ctx.obj if isinstance(ctx.obj, Deployed) else None
    open_gitlab = known.connect if known else connect
    gitlab = open_gitlab(config.gitlab.url, token_in(token_env), way_to(config.gitlab, path))
    return check_token(config, gitlab, known.clock() if known else now())


def _say_json(
    path: str,
    config: FleetConfig | None,
    problems: tuple[str, ...],
    needs: tuple[TokenNeed, ...],
) -> None:
    say_json(
        {
            "file": path,
            "version": config.version if config else None,
            "pools": [pool.name for pool in config.pools] if config else [],
            "problems": problems,
            "warnings": [str(warning) for warning in config.warnings] if config else [],
            "claims": [{"claim": need.need, "holds": need.is_met} for need in needs],
        },
        indent=2,
    )


def read_text(path: Path) -> str:
    """The text of a configuration file. Raises `Refused` for a file that is not text."""
    with path.open("rb") as file:
        raw = file.read(4 * LARGEST)  # more than the longest valid file, and an end for devices
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise Refused("the file is UTF-16: save it as UTF-8", file=str(path))
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise Refused(
            "the file is not UTF-8 text: save it as UTF-8", file=str(path), line=line
        ) from error


def read_file(path: Path) -> tuple[str, FleetConfig]:
    """The text and the configuration of a file, without a call to AWS or GitLab."""
    text = read_text(path)
    return text, read_config(text, name=path.name, instance_types=instance_types())


@cache
def instance_types() -> Collection[str]:
    """The instance types of EC2 in botocore's copy of its API; empty if that fails."""
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415  # 0.2 s
    from botocore.loaders import Loader  # noqa: PLC0415

    try:
        model = Loader().load_service_model("ec2", "service-2")
    except BotoCoreError:
        return ()
    return frozenset(model["shapes"].get("InstanceType", {}).get("enum", ()))


def _count(config: FleetConfig) -> str:
    names = ", ".join(pool.name for pool in config.pools)
    return f"{counted(len(config.pools), 'pool')} ({names})"


def _show(needs: tuple[TokenNeed, ...]) -> None:
    say("GitLab says:")
    for need in needs:
        say(f"  {MARKS[need.is_met]:4} {need.need}")
    if any(need.is_met is False for need in needs):
        raise typer.Exit(1)
