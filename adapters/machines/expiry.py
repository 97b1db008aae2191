"""The expiry timer outside the machine: one one-time schedule per launch."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from adapters.aws.clients import aws_call
from fleet.errors import FleetError

if TYPE_CHECKING:
    from mypy_boto3_scheduler import EventBridgeSchedulerClient


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiryTarget:
    """What a schedule calls: the sweep function, with the expired launch."""

    function_arn: str
    role_arn: str
    dead_letter_arn: str
    group: str


class Expiry:
    """Schedules in EventBridge Scheduler; each deletes itself when it has fired.

    It calls the sweep function instead of TerminateInstances, which refuses all ids when EC2 has
    forgotten one of them, and most machines of a launch have ended by then.
    """

    def __init__(self, client: "EventBridgeSchedulerClient", target: ExpiryTarget) -> None:
        self._client = client
        self._target = target

    def schedule(self, launch_id: str, at: datetime) -> None:
        """Make the schedule that fires at `at`. May be repeated."""
        try:
            with aws_call("scheduler.CreateSchedule"):
                self._client.create_schedule(
                    Name=f"expire-{launch_id}",
                    GroupName=self._target.group,
                    ScheduleExpression=f"at({at.astimezone(UTC):%Y-%m-%dT%H:%M:%S})",
                    ScheduleExpressionTimezone="UTC",
                    FlexibleTimeWindow={"Mode": "OFF"},
                    ActionAfterCompletion="DELETE",
                    Target={
                        "Arn": self._target.function_arn,
                        "RoleArn": self._target.role_arn,
                        "Input": json.dumps({"expired_launch": launch_id}),
                        "DeadLetterConfig": {"Arn": self._target.dead_letter_arn},
                        "RetryPolicy": {"MaximumRetryAttempts": 10},
                    },
                )
        except FleetError as exc:
            if exc.facts.get("code") != "ConflictException":
                raise
