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
    """Whom the schedule calls: the sweep function, with the launch whose time is over."""

    function_arn: str
    role_arn: str
    dead_letter_arn: str
    group: str


class Expiry:
    """Schedules in EventBridge Scheduler; each deletes itself when it has fired.

    It calls our function and not TerminateInstances itself: one id that EC2 has forgotten makes
    that call refuse all the others, and most machines of a launch are long gone by then.
    """

    def __init__(self, client: "EventBridgeSchedulerClient", target: ExpiryTarget) -> None:
        self._client = client
        self._target = target

    def schedule(self, launch_id: str, at: datetime) -> None:
        """Fire at `at`, once; asked twice, there is one schedule."""
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
