"""Stands for settle: waits as often as the job's detail says, then is done."""

from typing import Any

from ..notes import fail_if_asked, note


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    calls = note("settle", event)
    fail_if_asked(event, calls)
    detail = event["event"].get("detail", {})
    waits = event["round"] < detail.get("waits", 0)
    return {
        "wait_s": 0.1 if waits else None,
        "wake": detail.get("wake", False),
        "reason": "finished",
    }
