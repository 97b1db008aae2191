"""Stands for scale: takes one message per round, and comes again while there are more."""

import json
import os
from typing import Any

import boto3

from ..notes import note

sqs = boto3.client("sqs")


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    url = os.environ["FLEET_EC2_QUEUE_URL"]
    answer = sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=1, MessageSystemAttributeNames=["MessageGroupId"]
    )
    for message in answer.get("Messages", []):
        job = json.loads(message["Body"])["job_id"]
        group = message["Attributes"]["MessageGroupId"]
        note("scale", {"detail": {"job_id": job}, "group": group, "round": event["round"]})
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return {"again_in_s": 0.2 if answer.get("Messages") else None, "reasons": {}}
