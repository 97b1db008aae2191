"""What GitLab's own list of deliveries says about a webhook. Forged requests are not in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fleet.times import HasUtcTimes

# One answer of ours that GitLab did not get may be a deployment or a network that blinked.
FAILED_IN_A_ROW = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered(HasUtcTimes):
    """One delivery as GitLab lists it."""

    status: int | None  # of our answer; None: none came
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HookFault:
    """What is wrong with a webhook's deliveries, and whether a new secret mends it."""

    detail: str
    needs_secret: bool = False


def judge_deliveries(
    deliveries: Sequence[Delivered], *, since: datetime | None = None
) -> HookFault | None:
    """Say what is wrong with the newest deliveries; None when the newest got through.

    Those before `since`, the webhook's last registration, tell nothing about it now. What is
    refused is a fault at once: nothing but a change mends it. A failure must repeat.
    """
    newest = sorted(
        (one for one in deliveries if since is None or one.at > since),
        key=lambda one: one.at,
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
        said = (
            f"are answered {status}" if status else "get no answer: can GitLab reach its address?"
        )
        return HookFault(detail=f"GitLab's deliveries {said}")
    return None


def _got_through(delivered: Delivered) -> bool:
    """GitLab counts a redirect as success, too."""
    return delivered.status is not None and 200 <= delivered.status < 400
