"""Task `Sweep`, and the target of the expiry timers: end what should not be alive."""

from datetime import UTC, datetime
from typing import Any

from orchestrator.sweep import close_launch, end_launch, sweep
from orchestrator.wiring import cloud, wiring


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """One sweep, or the end of one launch when a timer calls."""
    if launch_id := event.get("expired_launch"):
        ended = end_launch(cloud("sweep"), launch_id, at=datetime.now(UTC))
        return {"ended": ended, "closed": close_launch(wiring("sweep"), launch_id)}
    done = sweep(wiring("sweep"))
    return {"closed": done.closed, "strays": done.strays, "wake": done.closed > 0}
