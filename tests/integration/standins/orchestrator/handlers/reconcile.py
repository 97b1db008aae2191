"""Stands for reconcile."""

from typing import Any

from ..notes import fail_if_told, note


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    calls = note("reconcile", event)
    told = event.get("detail", {}).get("reconcile", {})
    fail_if_told({"detail": told}, calls)
    return {"wake": told.get("wake", False)}
