"""The expiry timer: one schedule per launch, which calls the sweep once and is gone."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import pytest
from botocore.stub import Stubber

from adapters.machines.expiry import Expiry, ExpiryTarget
from fleet.errors import Refused, Transient
from tests.fakes import AT
from tests.unit.adapters.stubs import scripted

TARGET = ExpiryTarget(
    function_arn="arn:aws:lambda:eu-central-1:1:function:fleet-sweep",
    role_arn="arn:aws:iam::1:role/expiry",
    dead_letter_arn="arn:aws:sqs:eu-central-1:1:expiry-dead",
    group="fleet-expiry",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timers:
    """The adapter, and what Scheduler will answer it."""

    expiry: Expiry
    script: Stubber


@pytest.fixture
def timers() -> Iterator[Timers]:
    with scripted("scheduler") as (client, script):
        yield Timers(expiry=Expiry(client, TARGET), script=script)


@pytest.mark.parametrize(
    "at",
    [
        pytest.param(AT, id="in UTC"),
        pytest.param(AT.astimezone(timezone(timedelta(hours=5))), id="in another zone"),
        pytest.param(AT + timedelta(milliseconds=900), id="with a fraction"),
    ],
)
def test_a_timer_calls_the_sweep_once_with_the_launch_and_is_gone(
    at: datetime, timers: Timers
) -> None:
    request = {
        "Name": "expire-0123456789ab",
        "GroupName": "fleet-expiry",
        "ScheduleExpression": "at(2026-11-21T09:00:00)",
        "ScheduleExpressionTimezone": "UTC",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "ActionAfterCompletion": "DELETE",
        "Target": {
            "Arn": TARGET.function_arn,
            "RoleArn": TARGET.role_arn,
            "Input": json.dumps({"expired_launch": "0123456789ab"}),
            "DeadLetterConfig": {"Arn": TARGET.dead_letter_arn},
            "RetryPolicy": {"MaximumRetryAttempts": 10},
        },
    }
    timers.script.add_response("create_schedule", {"ScheduleArn": "arn"}, request)
    timers.expiry.schedule("0123456789ab", at)


def test_an_existing_timer_stays_as_it_is(timers: Timers) -> None:
    timers.script.add_client_error("create_schedule", "ConflictException", http_status_code=409)
    timers.expiry.schedule("l1", AT)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ThrottlingException", Transient),
        ("InternalServerException", Transient),
        ("ServiceQuotaExceededException", Refused),
        ("ValidationException", Refused),
    ],
)
def test_a_timer_that_could_not_be_set_raises(
    code: str, kind: type[Exception], timers: Timers
) -> None:
    status = 500 if code.startswith("Internal") else 400
    timers.script.add_client_error("create_schedule", code, http_status_code=status)
    with pytest.raises(kind, match=rf"scheduler\.CreateSchedule, code={code}"):
        timers.expiry.schedule("l1", AT)
