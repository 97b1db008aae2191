"""Stands for route: every job goes to the queue that its detail names."""

import os
import time
from typing import Any

from .notes import fail_if_told, note


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    calls = note("route", event)
    fail_if_told(event, calls)
    detail = event["detail"]
    time.sleep(detail.get("sleeps_s", 0))
    if detail.get("queue") is None:
        return {"queue_url": None, "message": None, "reason": "no_pool"}
    return {
        "queue_url": os.environ[f"FLEET_{detail['queue'].upper()}_QUEUE_URL"],
        "message": {"job_id": detail["job_id"]},
        "group": f"gitlab.example.com:{detail['project_id']}",
        "reason": "routed",
    }
