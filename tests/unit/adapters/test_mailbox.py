"""Who calls home first: also where DynamoDB's answer to the first try was lost on its way."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from boto3.dynamodb.types import TypeSerializer

from adapters.mailbox import Mailbox
from fleet.errors import Refused
from fleet.mailbox import MachineState, Report
from tests.unit.adapters.stubs import scripted

AT = datetime(2026, 8, 20, 9, 15, tzinfo=UTC)
OURS = Report(heartbeat_at=AT, state=MachineState.IDLE, runner_id="rf-1")
THEIRS = replace(OURS, heartbeat_at=AT + timedelta(seconds=1))
TAKEN = "ConditionalCheckFailedException"


def stored(report: Report) -> dict[str, Any]:
    write = TypeSerializer().serialize
    return {"Item": {name: write(value) for name, value in report.item().items()}}


@pytest.mark.parametrize(("seen", "is_ours"), [(OURS, True), (THEIRS, False), (None, False)])
def test_a_report_that_is_there_is_ours_or_another_s(seen: Report | None, is_ours: bool) -> None:
    with scripted("dynamodb") as (client, script):
        script.add_client_error("put_item", TAKEN, response_meta={"RetryAttempts": 1})
        script.add_response("get_item", stored(seen) if seen else {})
        assert Mailbox(client, "ledger", "lambda:rf-1").claim(OURS) is is_ours


def test_a_claim_that_the_first_try_loses_is_another_s() -> None:
    with scripted("dynamodb") as (client, script):
        script.add_client_error("put_item", TAKEN, response_meta={"RetryAttempts": 0})
        assert not Mailbox(client, "ledger", "lambda:rf-1").claim(OURS)


def test_the_first_report_is_a_claim() -> None:
    with scripted("dynamodb") as (client, script):
        script.add_response("put_item", {})
        assert Mailbox(client, "ledger", "lambda:rf-1").claim(OURS)


def test_a_claim_that_is_not_allowed_is_no_duplicate() -> None:
    with scripted("dynamodb") as (client, script):
        script.add_client_error("put_item", "AccessDeniedException")
        with pytest.raises(Refused):
            Mailbox(client, "ledger", "lambda:rf-1").claim(OURS)
