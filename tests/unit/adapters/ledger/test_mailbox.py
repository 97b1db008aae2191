"""A machine's mailbox, also where DynamoDB's answer to the first try was lost on its way."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from boto3.dynamodb.types import TypeSerializer
from botocore.stub import Stubber

from adapters.ledger.mailbox import Mailbox
from fleet.errors import Refused, Transient
from fleet.machine.mailbox import Credential, MachineState, Order, Report
from fleet.steps import Step, StepName
from tests.fakes import FakeCipher
from tests.unit.adapters.stubs import scripted

AT = datetime(2026, 8, 20, 9, 15, tzinfo=UTC)
OURS = Report(heartbeat_at=AT, state=MachineState.IDLE, runner_id="rf-1")
THEIRS = replace(OURS, heartbeat_at=AT + timedelta(seconds=1))
CIPHER = FakeCipher()
TAKEN = "ConditionalCheckFailedException"


def mailbox(client: Any) -> Mailbox:
    return Mailbox(client, "mailboxes", "lambda:rf-1", CIPHER)


def marshalled(item: Mapping[str, Any]) -> dict[str, Any]:
    write = TypeSerializer().serialize
    return {name: write(value) for name, value in item.items()}


def stored(report: Report) -> dict[str, Any]:
    return {"Item": marshalled(report.item())}


@pytest.mark.parametrize(("seen", "is_ours"), [(OURS, True), (THEIRS, False), (None, False)])
def test_a_report_that_is_there_is_ours_or_another_s(seen: Report | None, is_ours: bool) -> None:
    with scripted("dynamodb") as (client, script):
        script.add_client_error("put_item", TAKEN, response_meta={"RetryAttempts": 1})
        script.add_response("get_item", stored(seen) if seen else {})
        assert mailbox(client).claim(OURS) is is_ours


def test_a_claim_that_the_first_try_loses_is_another_s() -> None:
    with scripted("dynamodb") as (client, script):
        script.add_client_error("put_item", TAKEN, response_meta={"RetryAttempts": 0})
        assert not mailbox(client).claim(OURS)


def test_a_claim_that_is_not_allowed_is_no_duplicate() -> None:
    with scripted("dynamodb") as (client, script):
        script.add_client_error("put_item", "AccessDeniedException")
        with pytest.raises(Refused):
            mailbox(client).claim(OURS)


def test_a_claim_is_a_report_where_there_is_none() -> None:
    item = marshalled({"pk": "lambda:rf-1", "sk": "report"} | OURS.item())
    asked = {
        "TableName": "mailboxes",
        "Item": item,
        "ConditionExpression": "attribute_not_exists(pk)",
    }
    with scripted("dynamodb") as (client, script):
        script.add_response("put_item", {}, asked)
        assert mailbox(client).claim(OURS)


CREDENTIAL = Credential(
    runner_id="rf-1",
    pool="docker",
    url="https://gitlab.example.com",
    token="glrt-secret",
    executor="shell",
    wait_timeout_s=60,
    expires_at=AT + timedelta(hours=3),
    name="rf-1",
)
KEY = {"pk": {"S": "lambda:rf-1"}, "sk": {"S": "credential"}}


class Box:
    """One mailbox, its script, and a clock that goes on only while somebody pauses."""

    def __init__(self, client: Any, script: Stubber) -> None:
        self.script = script
        self.box = mailbox(client)
        self.pauses: list[float] = []

    def clock(self) -> datetime:
        return AT + timedelta(seconds=sum(self.pauses))

    def take(self, within_s: float) -> Credential | None:
        """Wait for the credential so long at most."""
        deadline = AT + timedelta(seconds=within_s)
        return self.box.take_credential(deadline, clock=self.clock, pause=self.pauses.append)

    def holds(self, credential: Credential | None) -> None:
        """The next look finds this."""
        item = {"Item": marshalled(credential.item("lambda:rf-1", CIPHER))} if credential else {}
        asked = {"TableName": "mailboxes", "Key": KEY, "ConsistentRead": True}
        self.script.add_response("get_item", item, asked)

    def deletes(self, credential: Credential | None, *, tries: int = 1) -> None:
        """The next deletion takes this away, and needed so many tries."""
        answer: dict[str, Any] = {"ResponseMetadata": {"RetryAttempts": tries - 1}}
        if credential:
            answer["Attributes"] = marshalled(credential.item("lambda:rf-1", CIPHER))
        asked = {"TableName": "mailboxes", "Key": KEY, "ReturnValues": "ALL_OLD"}
        self.script.add_response("delete_item", answer, asked)


class TestTaking:
    """The credential is taken by one, once."""

    def test_what_was_deleted_is_ours(self) -> None:
        with scripted("dynamodb") as (client, script):
            box = Box(client, script)
            box.holds(CREDENTIAL)
            newer = replace(CREDENTIAL, token="glrt-newer")
            box.deletes(newer)  # written anew between the look and the deletion
            assert box.box.try_take_credential() == newer

    @pytest.mark.parametrize(("tries", "taken"), [(1, None), (2, CREDENTIAL)])
    def test_what_is_gone_at_the_deletion_is_another_s_unless_our_first_try_took_it(
        self, tries: int, taken: Credential | None
    ) -> None:
        with scripted("dynamodb") as (client, script):
            box = Box(client, script)
            box.holds(CREDENTIAL)
            box.deletes(None, tries=tries)
            assert box.box.try_take_credential() == taken

    def test_what_cannot_be_opened_now_is_not_deleted(self) -> None:
        with scripted("dynamodb") as (client, script):
            box = Box(client, script)
            box.holds(CREDENTIAL)
            box.holds(CREDENTIAL)
            box.deletes(CREDENTIAL)
            CIPHER.failing = Transient(call="kms.Decrypt")
            assert box.take(60) == CREDENTIAL
            assert box.pauses == [0.1]

    @pytest.mark.parametrize("sealed", [None, "not of this mailbox", 7, b"x"])
    def test_what_is_not_sealed_for_it_is_refused_and_stays(self, sealed: object) -> None:
        item = CREDENTIAL.item("lambda:rf-1", CIPHER) | {"sealed": sealed}
        with scripted("dynamodb") as (client, script):
            script.add_response("get_item", {"Item": marshalled(item)})
            with pytest.raises(Refused):
                Box(client, script).box.try_take_credential()

    def test_nothing_is_deleted_where_nothing_is(self) -> None:
        with scripted("dynamodb") as (client, script):
            box = Box(client, script)
            box.holds(None)
            assert box.box.try_take_credential() is None

    def test_is_waited_for_through_a_bad_time(self) -> None:
        with scripted("dynamodb") as (client, script):
            box = Box(client, script)
            for _ in range(3):
                box.holds(None)
            script.add_client_error("get_item", "ThrottlingException")
            script.add_client_error("get_item", "InternalServerError", http_status_code=500)
            box.holds(CREDENTIAL)
            box.deletes(CREDENTIAL)
            assert box.take(60) == CREDENTIAL
            assert box.pauses == [0.1, 0.2, 0.4, 1.0, 1.0]

    def test_a_bad_time_that_lasts_to_the_deadline_is_told(self) -> None:
        with scripted("dynamodb") as (client, script):
            box = Box(client, script)
            for _ in range(3):
                script.add_client_error("get_item", "ThrottlingException")
            with pytest.raises(Transient):
                box.take(0.15)
            assert box.clock() == AT + timedelta(seconds=0.15)

    def test_what_may_not_be_read_is_not_waited_for(self) -> None:
        with scripted("dynamodb") as (client, script):
            box = Box(client, script)
            script.add_client_error("get_item", "AccessDeniedException")
            with pytest.raises(Refused):
                box.take(60)
            assert box.pauses == []


def test_a_report_adds_its_steps_and_replaces_the_rest() -> None:
    step = Step(at=AT, name=StepName.JOB_TAKEN, job_id=7)
    told = replace(OURS, state=MachineState.BUSY, job_id=7, steps=(step,))
    item = told.item()
    steps = item.pop("steps")
    sets = ", ".join(f"#{name} = :{name}" for name in item)
    added = "#steps = list_append(if_not_exists(#steps, :none), :steps)"
    asked = {
        "TableName": "mailboxes",
        "Key": KEY | {"sk": {"S": "report"}},
        "UpdateExpression": f"SET {sets}, {added} ADD #beats :one",
        "ExpressionAttributeNames": {f"#{name}": name for name in (*item, "steps", "beats")},
        "ExpressionAttributeValues": marshalled(
            {f":{name}": value for name, value in item.items()}
            | {":none": [], ":steps": steps, ":one": 1}
        ),
    }
    with scripted("dynamodb") as (client, script):
        script.add_response("update_item", {}, asked)
        mailbox(client).report(told)


def test_an_order_is_read_when_there_is_one() -> None:
    order = Order(reason="surplus", at=AT)
    asked = {"TableName": "mailboxes", "Key": KEY | {"sk": {"S": "order"}}, "ConsistentRead": True}
    with scripted("dynamodb") as (client, script):
        script.add_response("get_item", {}, asked)
        item = order.item("lambda:rf-1", expires_at=AT)
        script.add_response("get_item", {"Item": marshalled(item)}, asked)
        box = mailbox(client)
        assert (box.order(), box.order()) == (None, order)


@pytest.mark.parametrize(
    ("code", "kind"), [("ThrottlingException", Transient), ("AccessDeniedException", Refused)]
)
def test_a_report_or_an_order_that_does_not_get_through_is_told(
    code: str, kind: type[Exception]
) -> None:
    with scripted("dynamodb") as (client, script):
        script.add_client_error("update_item", code)
        script.add_client_error("get_item", code)
        box = mailbox(client)
        with pytest.raises(kind, match=r"dynamodb\.UpdateItem"):
            box.report(OURS)
        with pytest.raises(kind, match=r"dynamodb\.GetItem"):
            box.order()
