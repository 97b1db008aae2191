"""The event bus, to which the webhook function publishes deliveries."""

import json
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from adapters.aws.clients import aws_call, kind_of
from fleet.errors import Refused
from fleet.job_event import SOURCE, JobEvent

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient


class EventBus:
    """One bus of EventBridge."""

    def __init__(self, client: "EventBridgeClient", name: str) -> None:
        self._client = client
        self._name = name

    def publish(self, event: JobEvent) -> None:
        """Put one event on the bus, in one call.

        Raises as `aws_call` does, also when the call succeeds and its entry fails.
        """
        with aws_call("events.PutEvents"):
            answer = self._client.put_events(
                Entries=[
                    {
                        "EventBusName": self._name,
                        "Source": SOURCE,
                        "DetailType": event.detail_type,
                        "Detail": json.dumps(event.to_detail()),
                        "Time": event.received_at,
                    }
                ]
            )
        if answer["FailedEntryCount"]:
            code = answer["Entries"][0].get("ErrorCode", "")
            raise kind_of(code)(
                "the bus did not take the event", call="events.PutEvents", code=code
            )


def fault_of_rule(client: "EventBridgeClient", bus: str, rule: str) -> str | None:
    """Why a rule of the bus starts nothing; None where it does, or where AWS may not be asked."""
    try:
        with aws_call("events.DescribeRule", passing=("ResourceNotFoundException",)):
            state = client.describe_rule(Name=rule, EventBusName=bus)["State"]
            targets = client.list_targets_by_rule(Rule=rule, EventBusName=bus).get("Targets")
    except ClientError:
        return "is not there: a person removed it, and infra/template.yaml says what it was"
    except Refused:
        return None
    if state == "DISABLED":
        return f"is disabled: `aws events enable-rule --name {rule} --event-bus-name {bus}`"
    return (
        None
        if targets
        else "starts nothing: a person removed its target, which infra/template.yaml has"
    )
