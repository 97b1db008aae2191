"""Task `Scale`: one round of the autoscaler."""

from typing import Any

from orchestrator.scale import scale
from orchestrator.wiring import wiring


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Observe, decide, apply for every pool."""
    done = scale(wiring("scale"))
    return {
        "launched": done.launched,
        "drained": done.drained,
        "again_in_s": done.again_in_s,
        "reasons": {pool: str(reason) for pool, reason in done.reasons.items()},
    }
