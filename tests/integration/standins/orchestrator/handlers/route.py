"""Stands for route: the demand of every job goes to the queue that its detail names."""

import json
import os
import time
from typing import Any

import boto3

from ..notes import fail_if_asked, note

sqs = boto3.client("sqs")


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    calls = note("route", event)
    fail_if_asked(event, calls)
    detail = event["detail"]
    time.sleep(detail.get("sleeps_s", 0))
    if calls <= detail.get("again", 0):
        return {"wake": False, "again_in_s": 1, "reason": "under_way"}
    if detail.get("queue"):
        sqs.send_message(
            QueueUrl=os.environ[f"FLEET_{detail['queue'].upper()}_QUEUE_URL"],
            MessageBody=json.dumps({"job_id": detail["job_id"]}),
            MessageGroupId=f"gitlab.example.com:{detail['project_id']}",
        )
    wake = detail.get("wake", bool(detail.get("queue")))
    return {"wake": wake, "again_in_s": None, "reason": "routed" if wake else "no_pool"}
