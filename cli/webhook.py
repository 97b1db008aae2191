"""`runner-fleet webhook`: the webhook through which the fleet hears of jobs, and its secret."""

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from adapters.aws.clients import clients
from adapters.gitlab import hooks
from adapters.gitlab.client import GitLab
from adapters.gitlab.hook_values import HookTarget, Registered
from adapters.gitlab.tls_ca import read_tls_ca
from adapters.gitlab.way import DIRECT
from adapters.ledger.hooks import HookRow
from cli.commands import DEFAULT_STACK, use_stack
from cli.lines import say, say_json
from cli.options import AsJson, Local, Stack, wrong_calls
from fleet.errors import Refused, Transient
from fleet.hook_scope import HookScope
from fleet.job_event import instance_of
from operations import hook_proof, webhooks
from operations.clock import now
from operations.gitlab_access import connect, has_token, token_in
from operations.webhooks import HookAddress, HookWorld, ListedHook, wiring

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
GitLabUrl = Annotated[
    str | None,
    typer.Option(
        "--gitlab-url", envvar="GITLAB_URL", help="Of GitLab; else the one that was applied."
    ),
]
TokenEnv = Annotated[
    str,
    typer.Option(
        "--token-env",
        help="Environment variable with a GitLab token; else the fleet's own is used.",
    ),
]
TlsCaFile = Annotated[
    Path | None,
    typer.Option(
        "--tls-ca-file",
        envvar="GITLAB_TLS_CA_FILE",
        help="PEM file with GitLab's certificate authority; else the one that `apply` stored.",
    ),
]
DEFAULT_TOKEN = "GITLAB_TOKEN"  # noqa: S105  # a variable's name


@app.command()
def register(  # noqa: PLR0913  # a command's parameters are its options
    ctx: typer.Context,
    *,
    gitlab_url: GitLabUrl = None,
    project: Project = None,
    group: Group = None,
    url: Url = None,
    token_env: TokenEnv = DEFAULT_TOKEN,
    tls_ca_file: TlsCaFile = None,
    stack: Stack = DEFAULT_STACK,
    _local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Register or repair the webhook; safe to repeat. Prints no secret.

    Registers none where the fleet's webhook on a group above brings the same jobs.

    Example: runner-fleet webhook register --project acme/web
    """
    options = WebhookOptions(gitlab_url, token_env, tls_ca_file, project, group)
    world = options.world(ctx, stack)
    address = options.address(world, url)
    done = webhooks.register_once(world, address)
    above, scope = done.above, address.target.scope
    if done.own is not None:
        state = "registered" if done.own.changed else "already registered, nothing changed"
        _say_registered(state, done.own, above=above, as_json=as_json)
    elif above is not None:
        _say_covered(scope, above, as_json=as_json)


@app.command("list")
def list_(  # noqa: PLR0913
    ctx: typer.Context,
    *,
    gitlab_url: GitLabUrl = None,
    project: Project = None,
    group: Group = None,
    token_env: TokenEnv = DEFAULT_TOKEN,
    tls_ca_file: TlsCaFile = None,
    stack: Stack = DEFAULT_STACK,
    _local: Local = False,
    as_json: AsJson = False,
) -> None:
    """List the fleet's webhooks, or those of a project or group, with GitLab's state of each.

    Each line has its last delivery. The exit code is 1 where one of the fleet's is off, or it
    has none.

    Example: runner-fleet webhook list
    """
    options = WebhookOptions(gitlab_url, token_env, tls_ca_file, project, group)
    listed = _listed(options, ctx, stack)
    if as_json:
        say_json({"webhooks": [_json_of(webhook) for webhook in listed]}, indent=2)
    elif not listed:
        say("there is no webhook: run `runner-fleet webhook register`")
    for webhook in listed if not as_json else ():
        health = webhook.health
        until = health.disabled_until
        state = f"{health.alert_status}{f' until {until:%F %R %Z}' if until else ''}"
        say(health.hook_id, webhook.scope, state, _last_delivery(webhook), health.url)
    is_off = any(webhook.row is not None and not webhook.health.is_executable for webhook in listed)
    if is_off or not (listed or options.names_scope):
        raise typer.Exit(1)


@app.command("test")
def send_sample(  # noqa: PLR0913
    ctx: typer.Context,
    *,
    gitlab_url: GitLabUrl = None,
    project: Project = None,
    group: Group = None,
    url: Url = None,
    token_env: TokenEnv = DEFAULT_TOKEN,
    tls_ca_file: TlsCaFile = None,
    stack: Stack = DEFAULT_STACK,
    _local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Have GitLab send a sample job event, and follow it hop by hop until the fleet has it.

    A disabled webhook comes back when the sample is accepted. The exit code is 1 where a hop is
    missing, or not proven.

    Example: runner-fleet webhook test --project acme/web
    """
    options = WebhookOptions(gitlab_url, token_env, tls_ca_file, project, group)
    world = options.world(ctx, stack)
    address = options.address(world, url)
    sample = hook_proof.follow_sample(world, address)
    where = f"hook {sample.hook_id} on {address.target.scope}"
    if as_json:
        say_json(
            {
                "hook_id": sample.hook_id,
                "scope": str(address.target.scope),
                "heard_at": _iso(sample.heard_at),
                "hops": [asdict(hop) for hop in sample.hops],
            }
        )
    else:
        for hop in sample.hops:
            say(f"{hop.result:7}  {hop.hop}: {hop.says}")
    lost = sample.lost_at
    if lost is not None:
        word = "was lost" if lost.result == "missing" else "could not be followed"
        raise Refused(f"the sample of {where} {word} from {lost.hop}: {lost.says}")


@app.command()
def rotate(  # noqa: PLR0913
    ctx: typer.Context,
    *,
    gitlab_url: GitLabUrl = None,
    project: Project = None,
    group: Group = None,
    url: Url = None,
    token_env: TokenEnv = DEFAULT_TOKEN,
    tls_ca_file: TlsCaFile = None,
    stack: Stack = DEFAULT_STACK,
    _local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Give the webhook a new secret; the ones before stay valid until GitLab uses it.

    No delivery is refused meanwhile, and it may be repeated.

    Example: runner-fleet webhook rotate --project acme/web
    """
    options = WebhookOptions(gitlab_url, token_env, tls_ca_file, project, group)
    world = options.world(ctx, stack)
    rotated = webhooks.rotate(world, options.address(world, url))
    _say_registered("rotated", rotated, as_json=as_json)


@app.command()
def remove(  # noqa: PLR0913
    ctx: typer.Context,
    *,
    gitlab_url: GitLabUrl = None,
    project: Project = None,
    group: Group = None,
    url: Url = None,
    token_env: TokenEnv = DEFAULT_TOKEN,
    tls_ca_file: TlsCaFile = None,
    stack: Stack = DEFAULT_STACK,
    _local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Delete the webhook in GitLab, and what the fleet keeps of it. `up` registers it again.

    Example: runner-fleet webhook remove --project acme/web
    """
    options = WebhookOptions(gitlab_url, token_env, tls_ca_file, project, group)
    world = options.world(ctx, stack)
    address = options.address(world, url)
    removed = webhooks.remove(world, address)
    scope = address.target.scope
    if as_json:
        facts = {"scope": str(scope), "hook_ids": removed.hook_ids}
        say_json(facts | {"is_change": removed.is_change})
    elif not removed.is_change:
        say(f"there is no webhook on {scope}, nothing changed")
    else:
        ids = ", ".join(f"hook {hook_id}" for hook_id in removed.hook_ids) or "none in GitLab"
        say(f"removed: {ids} on {scope}, its secret and its row")


@dataclass(frozen=True, slots=True)
class WebhookOptions:
    """The options that name a GitLab, and a project or group in it."""

    gitlab_url: str | None
    token_env: str
    tls_ca_file: Path | None
    project: str | None
    group: str | None

    @property
    def names_scope(self) -> bool:
        """Whether a project or a group is given."""
        return (self.project, self.group) != (None, None)

    def check(self, *, needs_scope: bool = True) -> None:
        """Raise a usage error for options that cannot be right, without a call to AWS or GitLab."""
        with wrong_calls():
            if needs_scope or self.names_scope:
                hooks.require_one_owner(project=self.project, group=self.group)
            if self.gitlab_url is not None:
                connect(self.gitlab_url, "")
            if has_token(self.token_env):
                token_in(self.token_env)

    def world(self, ctx: typer.Context, stack: str) -> HookWorld:
        """The stack, once the options are right."""
        self.check()
        return _world(ctx, stack)

    def gitlab(self, world: HookWorld | None) -> GitLab:
        """GitLab, on the way that was applied for it, with the environment's token or ours."""
        address = self.gitlab_url or (world.gitlab_url() if world else None)
        if address is None:
            raise Refused("give --gitlab-url: no configuration was applied that names GitLab")
        token = None if has_token(self.token_env) or world is None else world.token()
        if token is None:
            token = token_in(self.token_env)
        way = world.way(address) if world else DIRECT
        if self.tls_ca_file:
            way = replace(way, tls_ca=read_tls_ca(self.tls_ca_file, at=now()))
        return connect(address, token, way)

    def address(self, world: HookWorld, url: str | None) -> HookAddress:
        """The project or group in GitLab, and the address there."""
        gitlab = self.gitlab(world)
        target = HookTarget(scope=self.scope(gitlab), url=url or world.url)
        return HookAddress(gitlab=gitlab, instance=instance_of(gitlab.api.url), target=target)

    def scope(self, gitlab: GitLab) -> HookScope:
        """The project or group in GitLab."""
        return hooks.scope_of(gitlab, project=self.project, group=self.group)


def _world(ctx: typer.Context, stack: str) -> HookWorld:
    use_stack(stack)
    return ctx.obj if isinstance(ctx.obj, HookWorld) else wiring(clients(), stack)


def _listed(options: WebhookOptions, ctx: typer.Context, stack: str) -> tuple[ListedHook, ...]:
    """The webhooks of the scope, for which GitLab is enough; without a scope the fleet's."""
    options.check(needs_scope=False)
    if not options.names_scope:
        world = _world(ctx, stack)
        gitlab = options.gitlab(world)
        return webhooks.list_registered(world, gitlab, instance_of(gitlab.api.url))
    known: HookWorld | None
    try:
        known = _world(ctx, stack)
    except (Refused, Transient):
        known = None
    gitlab = options.gitlab(known)
    return webhooks.list_in(known, gitlab, options.scope(gitlab), instance_of(gitlab.api.url))


def _say_covered(scope: HookScope, above: HookRow, *, as_json: bool) -> None:
    """Say that the webhook of a group above brings these jobs already."""
    if as_json:
        facts = {"hook_id": above.hook_id, "scope": str(above.scope), "url": above.url}
        verification = {"verification": above.verification, "changed": False}
        say_json(facts | verification | {"above": str(above.scope)})
        return
    say(f"nothing to do: hook {above.hook_id} on {above.scope} brings the jobs of {scope}, too")


def _say_registered(
    state: str, registered: Registered, *, above: HookRow | None = None, as_json: bool
) -> None:
    if as_json:
        say_json(
            {
                "hook_id": registered.hook_id,
                "scope": str(registered.scope),
                "url": registered.url,
                "verification": registered.verification,
                "changed": registered.changed,
                "above": str(above.scope) if above else None,
            }
        )
        return
    proof = registered.verification.replace("-", " ")
    say(f"{state}: hook {registered.hook_id} on {registered.scope}, {proof}")
    say(f"  {registered.url}")
    if above is not None:
        scope = registered.scope
        say(
            f"  each event arrives twice, as {above.scope} above has a webhook, too:"
            f" `runner-fleet webhook remove --{scope.kind} {scope.id}` ends that"
        )


def _json_of(listed: ListedHook) -> dict[str, Any]:
    health, row = listed.health, listed.row
    return {
        "hook_id": health.hook_id,
        "scope": str(listed.scope),
        "url": health.url,
        "alert_status": health.alert_status,
        "disabled_until": _iso(health.disabled_until),
        "is_ours": row is not None,
        "detail": row.detail if row else None,
        "heard_at": _iso(row.heard_at) if row else None,
    }


def _last_delivery(listed: ListedHook) -> str:
    if listed.row is None:
        return "not the fleet's"
    if listed.row.heard_at is None:
        return "no delivery yet"
    return f"last delivery at {listed.row.heard_at:%F %T} UTC"


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
