"""Stands for sweep."""

from typing import Any

from ..notes import fail_if_asked, note


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    calls = note("sweep", event)
    wishes = event.get("detail", {}).get("sweep", {})
    fail_if_asked({"detail": wishes}, calls)
    return {"wake": wishes.get("wake", False)}
