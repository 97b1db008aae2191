"""What keeps the hints coming: watched projects, the health of hooks, presence in GitLab."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from itertools import takewhile

from adapters.gitlab.client import GitLabProject
from adapters.gitlab.hooks import hook_fault, hook_health, test_hook
from adapters.ledger.hooks import HookRow
from fleet.errors import FleetError, Transient
from fleet.events import ERROR, WARNING, GitLabRefused, HookUnhealthy, emit
from fleet.hook_scope import HookScope
from fleet.job_event import JobEvent
from fleet.webhook_secrets import secret_id
from orchestrator.pool_tokens import keep_token
from orchestrator.world import World

# GitLab fails jobs that wait over an hour where no fitting runner was seen for two hours, and
# writes when it saw one at most every 40 to 55 minutes. Source: gitlab-facts, trap 17 and 18.
PRESENCE_EVERY = timedelta(minutes=30)
TOKEN_EVERY = timedelta(days=1)
# Projects come and go in a group slowly.
GROUPS_EVERY = timedelta(minutes=10)
# In one pass, at two calls to GitLab each.
HOOKS_AT_MOST = 10


def refresh_watched(world: World, has_time: Callable[[], bool]) -> None:
    """Put the projects of watched groups, and those that fleet.toml names, on the list.

    One that GitLab does not show keeps no other from being listed; what there is no time for, or
    what failed, has its turn the next time.
    """
    at = world.clock()
    if not has_time() or not world.fleet.listing_due(world.instance, at=at, every=GROUPS_EVERY):
        return
    known = {one.project_id: one.path for one in world.fleet.watched(world.instance)}
    listings = [partial(_project, world, one) for one in _projects(world)]
    listings += [partial(world.gitlab.group_projects, group) for group in _groups(world)]
    for listing in listings:
        try:
            for project in takewhile(lambda _: has_time(), listing()):
                if known.get(project.id) != project.path:
                    world.fleet.watch(world.instance, project.id, project.path, at=at)
        except FleetError as exc:
            emit(GitLabRefused(doing="list projects", error=str(exc)), level=WARNING)
    world.fleet.note_listed(world.instance, at=at)


def _project(world: World, id_or_path: int | str) -> Iterator[GitLabProject]:
    yield world.gitlab.project(id_or_path)


def _projects(world: World) -> tuple[int | str, ...]:
    """The projects that fleet.toml names, the one that our runners are in among them."""
    where = world.config.gitlab.runners_in
    own = [where.id] if where.kind == "project" and where.id is not None else []
    return (*world.config.gitlab.watch.projects, *own)


def _groups(world: World) -> tuple[int | str, ...]:
    """The groups that fleet.toml names, that our runners are in, and that have our hook."""
    scopes = (hook.scope for hook in world.fleet.hooks(world.instance))
    where = world.config.gitlab.runners_in
    return tuple(
        dict.fromkeys(
            [
                *world.config.gitlab.watch.groups,
                *([where.id] if where.kind == "group" and where.id is not None else []),
                *(scope.id for scope in scopes if scope.kind == "group"),
            ]
        )
    )


def note_proof(world: World, told: JobEvent) -> None:
    """Remember which of its webhook's secrets GitLab uses."""
    if told.hook and told.hook_secret_id:
        world.fleet.note_used(world.instance, told.hook, told.hook_secret_id)


def look_at_hooks(world: World, has_time: Callable[[], bool], healed: set[HookScope]) -> None:
    """Look whether GitLab calls our webhooks and is let in, and forget secrets rotated out.

    GitLab's own list says whether deliveries are refused: a forged request that the webhook
    function refuses is no word about any webhook. Where there are many, they take turns: a
    stranger's webhook must not take the calls of the jobs.
    """
    hooks = sorted(world.fleet.hooks(world.instance), key=lambda hook: str(hook.scope))
    at_most = min(HOOKS_AT_MOST, max(1, world.config.gitlab.calls_per_minute // 30))
    turn = int(world.clock().timestamp() // 60) * at_most
    in_turn = [hooks[(turn + place) % len(hooks)] for place in range(min(at_most, len(hooks)))]
    for hook in takewhile(lambda _: has_time(), in_turn):
        _drop_outdated(world, hook)
        if hook.scope not in healed:
            healed.add(hook.scope)
            _heal(world, hook)


def _drop_outdated(world: World, hook: HookRow) -> None:
    if hook.outdated_below is None or world.drop_older is None:
        return
    try:
        kept = world.drop_older(hook.name, hook.outdated_below)
    except FleetError as exc:
        # They stay valid a while longer.
        doing = f"forget old secrets of {hook.scope}"
        emit(GitLabRefused(doing=doing, error=str(exc)), level=WARNING)
        return
    world.fleet.note_secrets(hook, map(secret_id, kept.demanded))


def heal_hook(world: World, project_id: int, healed: set[HookScope]) -> None:
    """Look at the project's hook; one that GitLab switched off is switched on by a test delivery.

    A group's hook serves all of its projects and is looked at for any of them, but each hook once
    in a pass: `healed` has the scopes of those before. GitLab allows five tests a minute.
    """
    for hook in world.fleet.hooks(world.instance):
        if hook.scope.may_serve(project_id) and hook.scope not in healed:
            healed.add(hook.scope)
            _heal(world, hook)


def _heal(world: World, hook: HookRow) -> None:
    try:
        detail = _what_ails(world, hook)
    except FleetError as exc:
        emit(GitLabRefused(doing=f"hook of {hook.scope}", error=str(exc)), level=WARNING)
        return
    if detail != hook.detail or hook.healthy is not (detail is None):
        world.fleet.note_hook_health(hook, detail=detail)
    if detail is not None:
        emit(HookUnhealthy(scope=str(hook.scope), detail=detail), level=ERROR)


def _what_ails(world: World, hook: HookRow) -> str | None:
    """What is wrong with the hook, in GitLab's eyes; None when it is well."""
    scope = hook.scope
    health = hook_health(world.gitlab, scope, hook.hook_id)
    if health is None:
        return "missing: run `runner-fleet webhook register` again"
    fault = hook_fault(world.gitlab, scope, hook.hook_id, since=hook.registered_at)
    if health.is_executable or (fault is not None and fault.needs_secret):
        return fault.detail if fault else None
    detail = f"GitLab switched it off ({health.alert_status})"
    try:
        test_hook(world.gitlab, scope, hook.hook_id)
    except FleetError as exc:
        detail += f"; its test delivery failed: {exc}"
    return detail


def look_at_token(world: World) -> None:
    """Once a day, ask GitLab until when the fleet's token is valid: `status` warns in time."""
    at = world.clock()
    looked_at, _ = world.fleet.token_looked_at()
    if looked_at is not None and at - looked_at < TOKEN_EVERY:
        return
    try:
        expires_on = world.gitlab.own_token().expires_at
    except FleetError as exc:
        emit(GitLabRefused(doing="look at the token", error=str(exc)), level=WARNING)
        if isinstance(exc, Transient):
            return
        expires_on = None  # such as one of OAuth, which has no such day
    world.fleet.note_token_life(expires_on, at=at)


def show_presence(world: World, has_time: Callable[[], bool]) -> None:
    """Let GitLab hear from each pool's own runner record, so that no job there counts as stuck."""
    for pool in takewhile(lambda _: has_time(), world.config.pools):
        try:
            keep_token(world, pool, shown_every=PRESENCE_EVERY)
        except FleetError as exc:
            doing = f"presence of pool {pool.name}"
            emit(GitLabRefused(doing=doing, error=str(exc)), level=WARNING)
