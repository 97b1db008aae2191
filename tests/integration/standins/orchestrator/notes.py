"""What stand-ins share: they note what they were called with, and do what the event says."""

import json
import os
import time
import uuid
from typing import Any

import boto3

table = boto3.client("dynamodb")


class Transient(Exception):
    """The name is what the state machines know."""


class Refused(Exception):
    """The name is what the state machines know."""


def note(function: str, event: Any) -> int:
    """Write down one call; returns how many calls this function has had with this event's job."""
    job = str(_job(event))
    key = {
        "pk": {"S": f"calls#{function}#{job}"},
        "sk": {"S": f"{time.time():.6f}-{uuid.uuid4().hex}"},
    }
    table.update_item(  # every function may update; not all may put
        TableName=_ledger(),
        Key=key,
        UpdateExpression="SET #event = :event",
        ExpressionAttributeNames={"#event": "event"},
        ExpressionAttributeValues={":event": {"S": json.dumps(event)}},
    )
    answer = table.query(
        TableName=_ledger(),
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": key["pk"]},
        Select="COUNT",
        ConsistentRead=True,
    )
    return int(answer["Count"])


def fail_if_asked(event: Any, calls: int) -> None:
    """Raise what the job's detail asks for: `raise`, as often as `times`."""
    detail = (event.get("event") or event).get("detail") or {}
    if calls <= detail.get("times", 0):
        raise {"Transient": Transient, "Refused": Refused}[detail["raise"]](
            "as the job's detail asks"
        )


def _job(event: Any) -> Any:
    inner = event.get("event") or event
    detail = inner.get("detail") or {}
    return detail.get("job_id") or detail.get("instance-id") or "-"


def _ledger() -> str:
    return os.environ["FLEET_LEDGER_TABLE"]
