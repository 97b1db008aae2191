"""The health of a webhook, by GitLab's word on it and its own list of deliveries.

No forged request is in that list.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from fleet.times import HasUtcTimes

# A single lost answer may be a deployment or a network failure of seconds.
FAILED_IN_A_ROW = 3
CUSTOMIZED = "it has a custom template or custom headers: run `runner-fleet webhook register` again"
MISSING = "missing: run `runner-fleet webhook register` again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered(HasUtcTimes):
    """One delivery as GitLab lists it."""

    status: int | None  # of our answer; None: GitLab got none
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HookFault:
    """A fault in a webhook's deliveries; `needs_secret`: a new secret repairs it."""

    detail: str
    needs_secret: bool = False


def judge_deliveries(
    deliveries: Sequence[Delivered], *, since: datetime | None = None
) -> HookFault | None:
    """The fault in the newest deliveries; None when the newest succeeded.

    Deliveries before `since`, the webhook's last registration, do not count. A refusal is a fault
    at once: only a change ends it. Any other failure must repeat.
    """
    newest = sorted(
        (delivery for delivery in deliveries if since is None or delivery.at > since),
        key=lambda delivery: delivery.at,
        reverse=True,
    )
    if not newest or _got_through(newest[0]):
        return None
    status = newest[0].status
    if status == 401:
        return HookFault(detail="GitLab's deliveries are refused (401)", needs_secret=True)
    if status is not None and 400 <= status < 500 and status != 429:
        return HookFault(detail=f"GitLab's deliveries are refused ({status})")
    if len(newest) >= FAILED_IN_A_ROW and not any(map(_got_through, newest[:FAILED_IN_A_ROW])):
        answer = (
            f"are answered {status}" if status else "get no answer: can GitLab reach its address?"
        )
        return HookFault(detail=f"GitLab's deliveries {answer}")
    return None


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


def _got_through(delivered: Delivered) -> bool:
    """GitLab counts a redirect as success, too."""
    return delivered.status is not None and 200 <= delivered.status < 400
