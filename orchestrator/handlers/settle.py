"""Task `Settle`: a runner took a job, a job ended, or a machine ends."""

from typing import Any

from orchestrator.settle import settle
from orchestrator.wiring import wiring


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Read what happened, decide, act; ask to be called again after a grace."""
    done = settle(wiring("settle"), event["event"], round_=event["round"])
    return {"wait_s": done.wait_s, "wake": done.wake, "reason": str(done.reason)}
