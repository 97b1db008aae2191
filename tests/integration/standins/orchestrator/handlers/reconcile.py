"""Stands for reconcile."""

from typing import Any

from ..notes import fail_if_asked, note


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    calls = note("reconcile", event)
    wishes = event.get("detail", {}).get("reconcile", {})
    fail_if_asked({"detail": wishes}, calls)
    return {"wake": wishes.get("wake", False)}
