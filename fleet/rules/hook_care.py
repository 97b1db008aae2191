"""What is done about a webhook, from what GitLab says of it."""

from dataclasses import dataclass
from typing import Protocol

from fleet.rules.hook_health import HookFault

CUSTOMIZED = "it has a custom template or custom headers: run `runner-fleet webhook register` again"
MISSING = "missing: run `runner-fleet webhook register` again"


class Health(Protocol):
    """Whether GitLab still calls a webhook."""

    @property
    def is_executable(self) -> bool: ...
    @property
    def alert_status(self) -> str: ...
    @property
    def is_customized(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HookPlan:
    """`detail`: what is wrong; None: it is healthy. `test`: a test delivery may switch it on."""

    detail: str | None
    test: bool = False


def decide_hook(health: Health | None, fault: HookFault | None) -> HookPlan:
    """Test a webhook that GitLab switched off, unless its deliveries need a new secret.

    `health`: None where GitLab has no such webhook; `fault`: of its newest deliveries.
    """
    if health is None:
        return HookPlan(detail=MISSING)
    if health.is_executable or (fault is not None and fault.needs_secret):
        healthy = CUSTOMIZED if health.is_customized else None
        return HookPlan(detail=fault.detail if fault else healthy)
    return HookPlan(detail=f"GitLab switched it off ({health.alert_status})", test=True)
