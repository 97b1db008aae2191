"""`runner-fleet webhook`: register the webhook in GitLab, list hooks, have GitLab send a sample."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from adapters.aws.clients import Clients, clients
from adapters.aws.hook_secrets import HookSecretStore
from adapters.aws.secrets import SecretStore
from adapters.gitlab import hooks
from adapters.gitlab.client import DIRECT, GitLab, Way
from adapters.gitlab.tls_ca import read_tls_ca
from adapters.ledger.fleet import FleetRows
from adapters.ledger.hooks import HookRow
from adapters.ledger.table import Table
from cli.commands import DEFAULT_STACK, use_stack
from cli.failures import error_lines
from cli.lines import say
from cli.options import Stack
from fleet.errors import Refused, Transient
from fleet.hook_scope import HookScope
from fleet.job_event import instance_of
from operations.deployed import connect, now, read_applied, token_in, way_of
from operations.stacks import outputs_of

app = typer.Typer(help="The webhook through which the fleet hears of jobs.", no_args_is_help=True)

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
TlsCaFile = Annotated[
    Path | None,
    typer.Option(
        "--tls-ca-file",
        envvar="GITLAB_TLS_CA_FILE",
        help="PEM file with GitLab's certificate authority; else the one that `apply` stored.",
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
    """The deployed stack as these commands use it."""

    store: hooks.WebhookSecretStore
    url: str  # the stack's own webhook address
    record: Callable[[str, hooks.Registered], None]  # the instance, and the hook on it
    # When a webhook was registered last, by its instance, scope and name.
    since: Callable[[str, HookScope, str], datetime | None]
    way: Callable[[str], Way] = lambda _: DIRECT  # to the GitLab of this address, as applied
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
    stack: Stack = DEFAULT_STACK,
    rotate: Rotate = False,
) -> None:
    """Register or repair the webhook; safe to repeat. Prints no secret."""
    with error_lines():
        call = WebhookOptions(gitlab_url, token_env, tls_ca_file, project, group)
        call.check()
        world = _world(ctx, stack)
        gitlab, scope = call.scope(world.way)
        target = hooks.HookTarget(scope=scope, url=url or world.url)
        instance = instance_of(gitlab_url)
        registered = hooks.register_webhook(
            gitlab,
            world.store,
            target,
            record=lambda hook: world.record(instance, hook),
            rotate=rotate,
            since=world.since(instance, scope, target.name),
            pause=world.pause,
        )
        state = "registered" if registered.changed else "already registered, nothing changed"
        proof = registered.verification.replace("-", " ")
        say(f"{state}: hook {registered.hook_id} on {registered.scope}, {proof}")
        say(f"  {registered.url}")


@app.command("list")
def list_(  # noqa: PLR0913
    ctx: typer.Context,
    gitlab_url: GitLabUrl,
    *,
    project: Project = None,
    group: Group = None,
    token_env: TokenEnv = "GITLAB_TOKEN",  # noqa: S107
    tls_ca_file: TlsCaFile = None,
    stack: Stack = DEFAULT_STACK,
) -> None:
    """Every webhook of the project or group, and whether GitLab still calls it."""
    with error_lines():
        call = WebhookOptions(gitlab_url, token_env, tls_ca_file, project, group)
        call.check()
        gitlab, scope = call.scope(_way_if_any(ctx, stack))
        for hook in hooks.list_hooks(gitlab, scope):
            until = f" until {hook.disabled_until:%F %R %Z}" if hook.disabled_until else ""
            say(hook.hook_id, f"{hook.alert_status}{until}", hook.url)


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
    stack: Stack = DEFAULT_STACK,
) -> None:
    """Have GitLab send a sample job event; a disabled webhook comes back when it is accepted."""
    with error_lines():
        call = WebhookOptions(gitlab_url, token_env, tls_ca_file, project, group)
        call.check()
        way = _way_if_any(ctx, stack) if url else _world(ctx, stack).way
        gitlab, scope = call.scope(way)
        address = url or _world(ctx, stack).url
        matching = [hook for hook in hooks.list_hooks(gitlab, scope) if hook.url == address]
        if not matching:
            raise Refused(
                "there is no such webhook: run `runner-fleet webhook register`",
                scope=scope,
                url=address,
            )
        hooks.test_hook(gitlab, scope, matching[0].hook_id)
        say(f"accepted: hook {matching[0].hook_id} on {scope}")


@dataclass(frozen=True, slots=True)
class WebhookOptions:
    """The options that name a GitLab, and a project or group in it."""

    gitlab_url: str
    token_env: str
    tls_ca_file: Path | None
    project: str | None
    group: str | None

    def check(self) -> None:
        """Raise `Refused` for options that cannot be right, without a call to AWS or GitLab."""
        hooks.one_of(project=self.project, group=self.group)
        connect(self.gitlab_url, token_in(self.token_env))

    def scope(self, applied: Callable[[str], Way]) -> tuple[GitLab, HookScope]:
        """GitLab, on the way that was applied for it, and the project or group in it."""
        way = applied(self.gitlab_url)
        if self.tls_ca_file:
            way = replace(way, tls_ca=read_tls_ca(self.tls_ca_file, at=now()))
        gitlab = connect(self.gitlab_url, token_in(self.token_env), way)
        return gitlab, hooks.scope_of(gitlab, project=self.project, group=self.group)


def _world(ctx: typer.Context, stack: str) -> HookWorld:
    use_stack(stack)
    return ctx.obj if isinstance(ctx.obj, HookWorld) else wiring(clients(), stack)


def _way_if_any(ctx: typer.Context, stack: str) -> Callable[[str], Way]:
    """The way that `apply` stored; direct without a stack, as the call needs GitLab alone."""
    try:
        return _world(ctx, stack).way
    except (Refused, Transient):
        return lambda _: DIRECT


def wiring(aws: Clients, stack: str) -> HookWorld:
    """The deployed stack, by its outputs. `Refused` when it is not a fleet's."""
    outputs = outputs_of(aws, stack)
    if lacking := {"LedgerTable", "WebhookSecret", "WebhookUrl"} - outputs.keys():
        raise Refused(
            "this is not a fleet's stack: name the fleet's with --stack",
            stack=stack,
            lacking=sorted(lacking),
        )
    rows = FleetRows(Table(aws.dynamodb, outputs["LedgerTable"]))
    secrets = SecretStore(aws.secrets, timedelta(0), now)
    return HookWorld(
        store=HookSecretStore(secrets, outputs["WebhookSecret"], rows, now),
        url=outputs["WebhookUrl"],
        since=lambda *hook: registered_at(rows, *hook),
        way=lambda url: applied_way(rows, url),
        record=lambda instance, hook: keep(rows, instance, hook, at=now()),
    )


def applied_way(rows: FleetRows, url: str) -> Way:
    """The way to this GitLab that `apply` stored; direct for any other GitLab."""
    stored = rows.config()
    if stored is None:
        return DIRECT
    applied = read_applied(stored).gitlab
    return way_of(stored) if instance_of(applied.url) == instance_of(url) else DIRECT


def registered_at(rows: FleetRows, instance: str, scope: HookScope, name: str) -> datetime | None:
    """When this webhook was last registered, by the ledger."""
    row = rows.hook(instance, scope)
    return row.registered_at if row is not None and row.name == name else None


def keep(rows: FleetRows, instance: str, hook: hooks.Registered, *, at: datetime) -> None:
    """Record the hook, which reconcile then watches, with the pending jobs of its project."""
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
    if hook.scope.kind == "project":
        rows.watch(instance, hook.scope.id, "", at=at)
