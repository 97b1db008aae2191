"""The webhooks that the fleet registered: checked, switched on again, old secrets dropped."""

from collections.abc import Callable
from itertools import takewhile

from adapters.gitlab.hooks import hook_fault, hook_health, test_hook
from adapters.ledger.hooks import HookRow
from fleet.errors import FleetError
from fleet.events import ERROR, WARNING, HookUnhealthy, WorkPutOff, emit
from fleet.hook_scope import HookScope
from fleet.job_event import JobEvent
from fleet.rules.calls import hooks_in_turn
from fleet.rules.hook_health import HookPlan, decide_hook
from fleet.webhook_secrets import secret_id
from orchestrator.world import World


def note_proof(world: World, event: JobEvent) -> None:
    """Remember when its webhook delivered, and which of its secrets GitLab used for it."""
    if event.hook and event.hook_secret_id:
        at = world.clock()
        world.fleet.note_delivery(world.instance, event.hook, event.hook_secret_id, at=at)


def check_hooks(world: World, has_time: Callable[[], bool], checked: set[HookScope]) -> None:
    """Check the webhooks whose turn it is, and drop their secrets that were rotated out.

    GitLab's own list says whether deliveries are refused: a forged request that the webhook
    function refuses says nothing about any webhook. `checked` has those that this pass checked.
    """
    hooks = sorted(world.fleet.hooks(world.instance), key=lambda hook: str(hook.scope))
    calls = world.config.gitlab.calls_per_minute
    turns = hooks_in_turn(len(hooks), calls_per_minute=calls, at=world.clock())
    for hook in takewhile(lambda _: has_time(), (hooks[index] for index in turns)):
        _drop_outdated(world, hook)
        if hook.scope not in checked:
            checked.add(hook.scope)
            _check(world, hook)


def _drop_outdated(world: World, hook: HookRow) -> None:
    if hook.outdated_below is None or world.drop_older is None:
        return
    try:
        kept = world.drop_older(hook.name, hook.outdated_below)
    except FleetError as exc:  # they stay valid a while longer
        doing = f"forget old secrets of {hook.scope}"
        emit(WorkPutOff(doing=doing, error=str(exc)), level=WARNING)
        return
    world.fleet.note_secrets(hook, map(secret_id, kept.demanded))


def check_hooks_of(world: World, project_id: int, checked: set[HookScope]) -> None:
    """Check the webhooks that may serve a project; GitLab switches one on for a test delivery.

    A group's webhook serves all of its projects, but is checked once in a pass: `checked` has
    the scopes of the webhooks before. GitLab allows five tests a minute.
    """
    for hook in world.fleet.hooks(world.instance):
        if hook.scope.may_serve(project_id) and hook.scope not in checked:
            checked.add(hook.scope)
            _check(world, hook)


def _check(world: World, hook: HookRow) -> None:
    """Observe one webhook, test it where the rule says so, and note what is wrong with it."""
    try:
        plan = _plan(world, hook)
    except FleetError as exc:
        emit(WorkPutOff(doing=f"hook of {hook.scope}", error=str(exc)), level=WARNING)
        return
    detail = plan.detail
    if plan.test:
        try:
            test_hook(world.gitlab, hook.scope, hook.hook_id)
        except FleetError as exc:
            detail = f"{detail}; its test delivery failed: {exc}"
    if detail != hook.detail or hook.healthy is not (detail is None):
        world.fleet.note_hook_health(hook, detail=detail)
    if detail is not None:
        emit(HookUnhealthy(scope=str(hook.scope), detail=detail), level=ERROR)


def _plan(world: World, hook: HookRow) -> HookPlan:
    """What to do about the webhook, from GitLab's word on it and its newest deliveries."""
    health = hook_health(world.gitlab, hook.scope, hook.hook_id)
    if health is None:
        return decide_hook(None, None)
    fault = hook_fault(world.gitlab, hook.scope, hook.hook_id, since=hook.registered_at)
    return decide_hook(health, fault)
