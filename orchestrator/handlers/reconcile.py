"""Task `Reconcile`: GitLab's pending jobs against the ledger."""

from dataclasses import asdict
from typing import Any

from adapters.aws.lambda_context import LambdaContext
from adapters.gitlab.reach import ask_gitlab
from adapters.gitlab.way import Way
from orchestrator.reconcile import reconcile
from orchestrator.wiring import wiring


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """One pass; the autoscaler's one-minute tick, unless the whole fleet is quiet.

    With `ask_gitlab` it only tries whether a GitLab answers: an operator's command asks that before
    the fleet has a configuration.
    """
    if asked := event.get("ask_gitlab"):
        way = Way(tls_ca=asked["tls_ca"], proxy=asked["proxy"])
        return asdict(ask_gitlab(asked["url"], way))
    done = reconcile(wiring("reconcile"), lambda: context.get_remaining_time_in_millis() / 1000)
    return {
        "projects": done.projects,
        "routed": done.routed,
        "looked_up": done.looked_up,
        "wake": done.wake,
    }
