"""`runner-fleet webhook`: register the webhook in GitLab, list hooks, have GitLab send a sample."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from adapters import hooks
from adapters.aws import Clients, aws_call, clients
from adapters.fleet_rows import FleetRows, HookRow
from adapters.gitlab import CALLS_PER_MINUTE, Budget, GitLab
from adapters.secrets import SecretStore
from adapters.table import Table
from cli.failures import told
from fleet.errors import Refused
from fleet.job_event import instance_of

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
Rotate = Annotated[bool, typer.Option("--rotate", help="Make a new secret; the last stays valid.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class HookWorld:
    """What the commands need of the deployed stack."""

    store: hooks.WebhookSecretStore
    secret_name: str
    url: str  # the stack's own webhook address
    record: Callable[[str, hooks.Registered], None]  # the instance, and the hook on it


@app.command()
def register(  # noqa: PLR0913  # a command's parameters are its options
    ctx: typer.Context,
    gitlab_url: GitLabUrl,
    *,
    project: Project = None,
    group: Group = None,
    url: Url = None,
    token_env: TokenEnv = "GITLAB_TOKEN",  # noqa: S107  # a variable's name
    stack: Stack = "runner-fleet",
    rotate: Rotate = False,
) -> None:
    """Make or mend the webhook; safe to repeat. Prints no secret."""
    with told():
        world = _world(ctx, stack)
        gitlab = _gitlab(gitlab_url, token_env)
        target = hooks.HookTarget(
            scope=hooks.scope_of(gitlab, project=project, group=group),
            url=url or world.url,
            secret_name=world.secret_name,
        )
        registered = hooks.register_webhook(
            gitlab,
            world.store,
            target,
            record=lambda hook: world.record(instance_of(gitlab_url), hook),
            rotate=rotate,
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
) -> None:
    """Every webhook of the project or group, and whether GitLab still calls it."""
    with told():
        gitlab = _gitlab(gitlab_url, token_env)
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
    stack: Stack = "runner-fleet",
) -> None:
    """Have GitLab send a sample job event; a disabled webhook comes back when it is accepted."""
    with told():
        address = url or _world(ctx, stack).url
        gitlab = _gitlab(gitlab_url, token_env)
        scope = hooks.scope_of(gitlab, project=project, group=group)
        found = [hook for hook in hooks.list_hooks(gitlab, scope) if hook.url == address]
        if not found:
            raise Refused("no such webhook: `webhook register` makes it", scope=scope, url=address)
        hooks.test_hook(gitlab, scope, found[0].hook_id)
        typer.echo(f"accepted: hook {found[0].hook_id} on {scope}")


def _world(ctx: typer.Context, stack: str) -> HookWorld:
    return ctx.obj if isinstance(ctx.obj, HookWorld) else wiring(stack)


def wiring(stack: str) -> HookWorld:
    """The deployed stack, by its outputs."""
    aws = clients()
    outputs = _outputs(aws, stack)
    rows = FleetRows(Table(aws.dynamodb, outputs["LedgerTable"]))

    def record(instance: str, hook: hooks.Registered) -> None:
        rows.record_hook(
            HookRow(
                instance=instance,
                scope=hook.scope,
                hook_id=hook.hook_id,
                url=hook.url,
                verification=hook.verification,
            )
        )
        kind, _, number = hook.scope.partition(":")
        if kind == "project":
            rows.watch(instance, int(number), "", at=_now())

    return HookWorld(
        store=SecretStore(aws.secrets, timedelta(0), _now),
        secret_name=outputs["WebhookSecret"],
        url=outputs["WebhookUrl"],
        record=record,
    )


def _outputs(aws: Clients, stack: str) -> dict[str, str]:
    try:
        with aws_call("cloudformation.DescribeStacks"):
            (found,) = aws.cloudformation.describe_stacks(StackName=stack)["Stacks"]
    except Refused as exc:
        if exc.facts["code"] != "ValidationError":
            raise
        raise Refused("no such stack: give its name with --stack", stack=stack) from exc
    outputs = {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])}
    if lacking := {"LedgerTable", "WebhookSecret", "WebhookUrl"} - outputs.keys():
        raise Refused("this is no fleet's stack", stack=stack, lacking=sorted(lacking))
    return outputs


def _gitlab(url: str, token_env: str) -> GitLab:
    token = os.environ.get(token_env)
    if not token:
        raise Refused("put a GitLab token into the environment", variable=token_env)
    return GitLab(url, token, budget=Budget(calls_per_minute=CALLS_PER_MINUTE, clock=_now))


def _now() -> datetime:
    return datetime.now(UTC)
