"""`runner-fleet webhook`: register the webhook in GitLab, list hooks, have GitLab send a sample."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from adapters.aws.clients import Clients, clients
from adapters.aws.hook_secrets import HookSecretStore
from adapters.aws.secrets import SecretStore
from adapters.gitlab import hooks
from adapters.gitlab.client import GitLab, Way
from adapters.gitlab.tls_ca import read_tls_ca
from adapters.ledger.fleet import FleetRows, HookRow
from adapters.ledger.table import Table
from cli.failures import told
from fleet.errors import Refused
from fleet.job_event import instance_of
from operations.deployed import connect, now, token_in
from operations.stacks import outputs_of

app = typer.Typer(help="The webhook that tells the fleet of jobs.", no_args_is_help=True)

Project = Annotated[
    str | None, typer.Option("--project", help="Id or path of the project it is on.")
]
Group = Annotated[
    str | None, typer.Option("--group", help="Id or path of the group (GitLab Premium).")
]
Url = Annotated[
    str | None, typer.Option("--url", help="Where GitLab posts to; else the stack's own address.")
]
GitLabUrl = Annotated[str, typer.Option("--gitlab-url", envvar="GITLAB_URL", help="Of GitLab.")]
TokenEnv = Annotated[
    str, typer.Option("--token-env", help="Environment variable that holds a GitLab token.")
]
Stack = Annotated[
    str,
    typer.Option("--stack", envvar="RUNNER_FLEET_STACK", help="Name of the CloudFormation stack."),
]
TlsCaFile = Annotated[
    Path | None,
    typer.Option(
        "--tls-ca-file",
        envvar="GITLAB_TLS_CA_FILE",
        help="PEM file with GitLab's certificate authority, where that is no public one.",
    ),
]
Rotate = Annotated[
    bool,
    typer.Option(
        "--rotate", help="Make a new secret; those before it stay valid until GitLab uses it."
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class HookWorld:
    """What the commands need of the deployed stack."""

    store: hooks.WebhookSecretStore
    url: str  # the stack's own webhook address
    record: Callable[[str, hooks.Registered], None]  # the instance, and the hook on it
    since: Callable[[str, str, str], datetime | None]  # instance, scope, name: last registered at
    pause: Callable[[float], None] = time.sleep


@app.command()
def register(  # noqa: PLR0913  # a command's parameters are its options
    ctx: typer.Context,
    gitlab_url: GitLabUrl,
    *,
    project: Project = None,
    group: Group = None,
    url: Url = None,
    token_env: TokenEnv = "GITLAB_TOKEN",  # noqa: S107  # a variable's name
    tls_ca_file: TlsCaFile = None,
    stack: Stack = "runner-fleet",
    rotate: Rotate = False,
) -> None:
    """Make or mend the webhook; safe to repeat. Prints no secret."""
    with told():
        gitlab = _gitlab(gitlab_url, token_env, tls_ca_file)
        scope = hooks.scope_of(gitlab, project=project, group=group)
        world = _world(ctx, stack)
        target = hooks.HookTarget(scope=scope, url=url or world.url)
        instance = instance_of(gitlab_url)
        registered = hooks.register_webhook(
            gitlab,
            world.store,
            target,
            record=lambda hook: world.record(instance, hook),
            rotate=rotate,
            since=world.since(instance, str(scope), target.name),
            pause=world.pause,
        )
        state = "registered" if registered.changed else "already registered, nothing changed"
        proof = registered.verification.replace("-", " ")
        typer.echo(f"{state}: hook {registered.hook_id} on {registered.scope}, {proof}")
        typer.echo(f"  {registered.url}")


@app.command("list")
def list_(
    gitlab_url: GitLabUrl,
    *,
    project: Project = None,
    group: Group = None,
    token_env: TokenEnv = "GITLAB_TOKEN",  # noqa: S107
    tls_ca_file: TlsCaFile = None,
) -> None:
    """Every webhook of the project or group, and whether GitLab still calls it."""
    with told():
        gitlab = _gitlab(gitlab_url, token_env, tls_ca_file)
        for hook in hooks.list_hooks(gitlab, hooks.scope_of(gitlab, project=project, group=group)):
            until = f" until {hook.disabled_until:%F %R %Z}" if hook.disabled_until else ""
            typer.echo(f"{hook.hook_id}\t{hook.alert_status}{until}\t{hook.url}")


@app.command("test")
def send_sample(  # noqa: PLR0913
    ctx: typer.Context,
    gitlab_url: GitLabUrl,
    *,
    project: Project = None,
    group: Group = None,
    url: Url = None,
    token_env: TokenEnv = "GITLAB_TOKEN",  # noqa: S107
    tls_ca_file: TlsCaFile = None,
    stack: Stack = "runner-fleet",
) -> None:
    """Have GitLab send a sample job event; a disabled webhook comes back when it is accepted."""
    with told():
        gitlab = _gitlab(gitlab_url, token_env, tls_ca_file)
        scope = hooks.scope_of(gitlab, project=project, group=group)
        address = url or _world(ctx, stack).url
        found = [hook for hook in hooks.list_hooks(gitlab, scope) if hook.url == address]
        if not found:
            raise Refused("no such webhook: `webhook register` makes it", scope=scope, url=address)
        hooks.test_hook(gitlab, scope, found[0].hook_id)
        typer.echo(f"accepted: hook {found[0].hook_id} on {scope}")


def _world(ctx: typer.Context, stack: str) -> HookWorld:
    return ctx.obj if isinstance(ctx.obj, HookWorld) else wiring(clients(), stack)


def wiring(aws: Clients, stack: str) -> HookWorld:
    """The deployed stack, by its outputs. `Refused` when it is not a fleet's."""
    outputs = outputs_of(aws, stack)
    if lacking := {"LedgerTable", "WebhookSecret", "WebhookUrl"} - outputs.keys():
        raise Refused("this is no fleet's stack", stack=stack, lacking=sorted(lacking))
    rows = FleetRows(Table(aws.dynamodb, outputs["LedgerTable"]))
    secrets = SecretStore(aws.secrets, timedelta(0), now)
    return HookWorld(
        store=HookSecretStore(secrets, outputs["WebhookSecret"], rows, now),
        url=outputs["WebhookUrl"],
        since=lambda *hook: registered_at(rows, *hook),
        record=lambda instance, hook: keep(rows, instance, hook, at=now()),
    )


def registered_at(rows: FleetRows, instance: str, scope: str, name: str) -> datetime | None:
    """When this webhook was registered for the last time, as far as the ledger knows."""
    row = rows.hook(instance, scope)
    return row.registered_at if row is not None and row.name == name else None


def keep(rows: FleetRows, instance: str, hook: hooks.Registered, *, at: datetime) -> None:
    """Have reconcile look after the hook, and read the pending jobs of its project."""
    rows.record_hook(
        HookRow(
            instance=instance,
            scope=hook.scope,
            hook_id=hook.hook_id,
            url=hook.url,
            verification=hook.verification,
            name=hook.name,
            secret_ids=hook.secret_ids,
            registered_at=at,
        )
    )
    kind, _, number = hook.scope.partition(":")
    if kind == "project":
        rows.watch(instance, int(number), "", at=at)


def _gitlab(url: str, token_env: str, tls_ca_file: Path | None) -> GitLab:
    tls_ca = read_tls_ca(tls_ca_file, at=now()) if tls_ca_file else ""
    return connect(url, token_in(token_env), Way(tls_ca=tls_ca))
