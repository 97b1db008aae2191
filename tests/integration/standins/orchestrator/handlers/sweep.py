"""Stands for sweep."""

from typing import Any

from ..notes import fail_if_told, note


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    calls = note("sweep", event)
    told = event.get("detail", {}).get("sweep", {})
    fail_if_told({"detail": told}, calls)
    return {"wake": told.get("wake", False)}
