"""The webhooks of a deployed fleet: register, rotate and remove them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from adapters.aws.bus import fault_of_rule
from adapters.aws.clients import Clients
from adapters.aws.hook_secrets import HookSecretStore
from adapters.aws.secrets import SecretStore
from adapters.gitlab import hooks
from adapters.gitlab.client import GitLab
from adapters.gitlab.hook_values import HookHealth, HookTarget, Registered
from adapters.gitlab.way import DIRECT, Way
from adapters.ledger.fleet import FleetRows
from adapters.ledger.hooks import HookRow
from adapters.ledger.table import Table
from fleet.errors import Refused
from fleet.hook_scope import HookScope
from fleet.job_event import instance_of
from fleet.webhook_secrets import WebhookSecrets
from operations.clock import now
from operations.fleet_handle import read_applied, way_of
from operations.stacks import outputs_of


@dataclass(frozen=True, slots=True, kw_only=True)
class HookWorld:
    """The deployed stack as these commands use it."""

    store: hooks.WebhookSecretStore
    url: str  # the stack's own webhook address
    rows: FleetRows
    stack: str = ""  # its name, and its functions' and rules' beginning
    # What is wrong with a rule of the bus by its name in the template; None: nothing.
    rule_fault: Callable[[str], str | None] = lambda _: None
    token: Callable[[], str | None] = lambda: None  # the fleet's own
    clock: Callable[[], datetime] = now
    pause: Callable[[float], None] = time.sleep

    def way(self, url: str) -> Way:
        """The way to this GitLab that `apply` stored; direct for any other GitLab."""
        stored = self.rows.config()
        if stored is None or instance_of(read_applied(stored).gitlab.url) != instance_of(url):
            return DIRECT
        return way_of(stored)

    def gitlab_url(self) -> str | None:
        """The GitLab of the configuration in force; None before the first `apply`."""
        stored = self.rows.config()
        return read_applied(stored).gitlab.url if stored else None


@dataclass(frozen=True, slots=True, kw_only=True)
class HookAddress:
    """One address to which GitLab posts the job events of a project or a group."""

    gitlab: GitLab
    instance: str
    target: HookTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedHook:
    """A webhook in GitLab, and what the ledger has of it."""

    health: HookHealth
    scope: HookScope
    row: HookRow | None  # None: the fleet did not register it


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What brings the jobs of a project or group. `own`: None where the one above was enough."""

    own: Registered | None
    above: HookRow | None  # on a group above


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedHook:
    """What `remove` found of a webhook, and deleted."""

    hook_ids: tuple[int, ...]  # in GitLab
    had_row: bool
    had_secrets: bool

    @property
    def is_change(self) -> bool:
        """Whether there was anything."""
        return bool(self.hook_ids) or self.had_row or self.had_secrets


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
        rows=rows,
        stack=stack,
        rule_fault=lambda rule: fault_of_rule(
            aws.events, outputs.get("Bus", stack), f"{stack}-{rule}"
        ),
        token=lambda: _own_token(secrets, outputs.get("GitlabSecret")),
    )


def register(world: HookWorld, address: HookAddress, *, rotate: bool = False) -> Registered:
    """Make or correct the webhook, and record it for reconcile. May be repeated.

    `rotate`: with a new secret; those before stay valid until GitLab proves that it uses it.
    """
    row = world.rows.hook(address.instance, address.target.scope)
    return hooks.register_webhook(
        address.gitlab,
        world.store,
        address.target,
        record=lambda hook: record_hook(world.rows, address.instance, hook, at=world.clock()),
        rotate=rotate,
        since=row.registered_at if row is not None and row.name == address.target.name else None,
        pause=world.pause,
    )


def register_once(world: HookWorld, address: HookAddress) -> Registration:
    """Register as `register` does, unless the fleet's webhook on a group above brings these jobs.

    GitLab would send each event by both. A webhook that is there already is kept.
    """
    above = brought_by(world, address)
    if above is not None and not hooks.hooks_at(address.gitlab, address.target):
        _watch(world.rows, address.instance, address.target.scope, at=world.clock())
        return Registration(own=None, above=above)
    return Registration(own=register(world, address), above=above)


def brought_by(world: HookWorld, address: HookAddress) -> HookRow | None:
    """The fleet's webhook to the same address on a group above, if GitLab has it."""
    scope, gitlab = address.target.scope, address.gitlab
    is_project = scope.kind == "project"
    groups = gitlab.groups_above(scope.id) if is_project else gitlab.groups_over(scope.id)
    for group in groups:
        above = replace(address.target, scope=HookScope(kind="group", id=group))
        row = world.rows.hook(address.instance, above.scope)
        if row is not None and row.name == above.name and _is_there(gitlab, row):
            return row
    return None


def _is_there(gitlab: GitLab, row: HookRow) -> bool:
    """Whether GitLab has it still; where the token may not see it, as reconcile saw it last."""
    try:
        return hooks.hook_health(gitlab, row.scope, row.hook_id) is not None
    except Refused:
        return row.healthy


def rotate(world: HookWorld, address: HookAddress) -> Registered:
    """Give the webhook a new secret. `Refused` where GitLab has no such webhook."""
    in_gitlab(world, address)
    return register(world, address, rotate=True)


def remove(world: HookWorld, address: HookAddress) -> RemovedHook:
    """Delete the webhook in GitLab, then its row, then its secrets. May be repeated.

    In this order no delivery is refused: GitLab sends none by the time the secret goes.
    """
    target = address.target
    existing = hooks.hooks_at(address.gitlab, target)
    for hook in existing:
        hooks.delete_hook(address.gitlab, target.scope, hook.hook_id)
    row = world.rows.hook(address.instance, target.scope)
    is_ours = row is not None and row.url.rstrip("/") == target.url.rstrip("/")
    if is_ours:
        world.rows.forget_hook(address.instance, target.scope)
    stored = world.store.read().get(target.name, WebhookSecrets())
    if not stored.is_empty:
        world.store.change(target.name, WebhookSecrets(), before=stored)
    return RemovedHook(
        hook_ids=tuple(hook.hook_id for hook in existing),
        had_row=is_ours,
        had_secrets=not stored.is_empty,
    )


def list_in(
    world: HookWorld | None, gitlab: GitLab, scope: HookScope, instance: str
) -> tuple[ListedHook, ...]:
    """Every webhook of the scope in GitLab, ours or not; without a stack no rows."""
    row = world.rows.hook(instance, scope) if world else None
    return tuple(
        ListedHook(
            health=health,
            scope=scope,
            row=row if row is not None and row.hook_id == health.hook_id else None,
        )
        for health in hooks.list_hooks(gitlab, scope)
    )


def list_registered(world: HookWorld, gitlab: GitLab, instance: str) -> tuple[ListedHook, ...]:
    """Every webhook that the fleet registered, as GitLab shows it now."""
    return tuple(
        ListedHook(health=health, scope=row.scope, row=row)
        for row in sorted(world.rows.hooks(instance), key=lambda row: str(row.scope))
        for health in [hooks.hook_health(gitlab, row.scope, row.hook_id) or _missing(row)]
    )


def record_hook(rows: FleetRows, instance: str, hook: Registered, *, at: datetime) -> None:
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
    _watch(rows, instance, hook.scope, at=at)


def _watch(rows: FleetRows, instance: str, scope: HookScope, *, at: datetime) -> None:
    """Have reconcile look at the pending jobs, where it is a project's webhook."""
    if scope.kind == "project":
        rows.watch(instance, scope.id, "", at=at)


def _missing(row: HookRow) -> HookHealth:
    return HookHealth(hook_id=row.hook_id, url=row.url, alert_status="missing")


def in_gitlab(world: HookWorld, address: HookAddress) -> list[HookHealth]:
    """The webhooks at this address. Raises `Refused` where GitLab has none."""
    existing = hooks.hooks_at(address.gitlab, address.target)
    above = None if existing else brought_by(world, address)
    if above is not None:
        raise Refused(
            f"hook {above.hook_id} on {above.scope} brings the jobs of {address.target.scope}: name"
            f" its group, --group {above.scope.id}"
        )
    if not existing:
        raise Refused(
            "there is no such webhook: run `runner-fleet webhook register`",
            scope=address.target.scope,
            url=address.target.url,
        )
    return existing


def _own_token(secrets: SecretStore, name: str | None) -> str | None:
    if name is None:
        return None
    try:
        return secrets.gitlab_token(name)
    except Refused:
        return None
