"""Stands for the webhook: what is posted goes on the bus as it is."""

import json
import os
from typing import Any

import boto3

events = boto3.client("events")


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    posted = json.loads(event["body"])
    answer = events.put_events(
        Entries=[
            {
                "Source": "runner-fleet.webhook",
                "DetailType": posted["type"],
                "Detail": json.dumps(posted["detail"]),
                "EventBusName": os.environ["FLEET_BUS"],
            }
        ]
    )
    return {"statusCode": 202, "body": json.dumps({"failed": answer["FailedEntryCount"]})}
