"""A machine's mailbox where DynamoDB's answer to the first try was lost on its way.

`tests/integration/adapters/ledger/test_mailbox.py` shows it on the engine.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from boto3.dynamodb.types import TypeSerializer
from botocore.stub import Stubber

from adapters.ledger.mailbox import Mailbox
from fleet.errors import Refused, Transient
from fleet.machine.mailbox import Credential, MachineState, Report
from tests.fakes import FakeCipher
from tests.unit.adapters.stubs import scripted
from tests.unit.fleet.facts import credential

AT = datetime(2026, 8, 20, 9, 15, tzinfo=UTC)
OURS = Report(heartbeat_at=AT, state=MachineState.IDLE, runner_id="rf-1")
THEIRS = replace(OURS, heartbeat_at=AT + timedelta(seconds=1))
CIPHER = FakeCipher()
TAKEN = "ConditionalCheckFailedException"


def marshalled(item: Mapping[str, Any]) -> dict[str, Any]:
    write = TypeSerializer().serialize
    return {name: write(value) for name, value in item.items()}


CREDENTIAL = credential()
KEY = {"pk": {"S": "lambda:rf-1"}, "sk": {"S": "credential"}}


class Box:
    """One mailbox, its script, and a clock that goes on only in pauses."""

    def __init__(self, client: Any, script: Stubber) -> None:
        self.script = script
        self.box = Mailbox(client, "mailboxes", "lambda:rf-1", CIPHER)
        self.pauses: list[float] = []

    def clock(self) -> datetime:
        return AT + timedelta(seconds=sum(self.pauses))

    def take(self, within_s: float) -> Credential | None:
        """Wait for the credential so long at most."""
        deadline = AT + timedelta(seconds=within_s)
        return self.box.take_credential(deadline, clock=self.clock, pause=self.pauses.append)

    def fails(self, code: str, call: str = "get_item", *, tries: int = 1) -> None:
        """The next such call fails with this code after so many tries."""
        meta = {"RetryAttempts": tries - 1}
        self.script.add_client_error(call, code, response_meta=meta)

    def holds(self, credential: Credential | None) -> None:
        """The next look finds this."""
        item = {"Item": marshalled(credential.item("lambda:rf-1", CIPHER))} if credential else {}
        request = {"TableName": "mailboxes", "Key": KEY, "ConsistentRead": True}
        self.script.add_response("get_item", item, request)

    def deletes(self, credential: Credential | None, *, tries: int = 1) -> None:
        """The next deletion takes this away, and needed so many tries."""
        answer: dict[str, Any] = {"ResponseMetadata": {"RetryAttempts": tries - 1}}
        if credential:
            answer["Attributes"] = marshalled(credential.item("lambda:rf-1", CIPHER))
        request = {"TableName": "mailboxes", "Key": KEY, "ReturnValues": "ALL_OLD"}
        self.script.add_response("delete_item", answer, request)


@pytest.fixture
def box() -> Iterator[Box]:
    with scripted("dynamodb") as (client, script):
        yield Box(client, script)


@pytest.mark.parametrize(("report", "is_ours"), [(OURS, True), (THEIRS, False), (None, False)])
def test_a_report_that_is_there_is_ours_or_another_s(
    report: Report | None, is_ours: bool, box: Box
) -> None:
    box.fails(TAKEN, "put_item", tries=2)
    answer = {"Item": marshalled(report.item())} if report else {}
    box.script.add_response("get_item", answer)
    assert box.box.claim(OURS) is is_ours


def test_a_claim_that_the_first_try_loses_is_another_s_and_a_refusal_is_none(box: Box) -> None:
    box.fails(TAKEN, "put_item")
    assert not box.box.claim(OURS)
    box.fails("AccessDeniedException", "put_item")
    with pytest.raises(Refused):
        box.box.claim(OURS)


def test_what_was_deleted_is_ours(box: Box) -> None:
    box.holds(CREDENTIAL)
    newer = replace(CREDENTIAL, token="glrt-newer")
    box.deletes(newer)  # written anew between the look and the deletion
    assert box.box.try_take_credential() == newer


@pytest.mark.parametrize(("tries", "taken"), [(1, None), (2, CREDENTIAL)])
def test_what_is_gone_at_the_deletion_is_another_s_unless_our_first_try_took_it(
    tries: int, taken: Credential | None, box: Box
) -> None:
    box.holds(CREDENTIAL)
    box.deletes(None, tries=tries)
    assert box.box.try_take_credential() == taken


def test_what_cannot_be_opened_now_is_not_deleted(box: Box) -> None:
    box.holds(CREDENTIAL)
    box.holds(CREDENTIAL)
    box.deletes(CREDENTIAL)
    CIPHER.failing = Transient(call="kms.Decrypt")
    assert box.take(60) == CREDENTIAL
    assert box.pauses == [0.1]


@pytest.mark.parametrize("sealed", [None, "not of this mailbox", 7, b"x"])
def test_what_is_not_sealed_for_it_is_refused_and_stays(sealed: object, box: Box) -> None:
    item = CREDENTIAL.item("lambda:rf-1", CIPHER) | {"sealed": sealed}
    box.script.add_response("get_item", {"Item": marshalled(item)})
    with pytest.raises(Refused):
        box.box.try_take_credential()


def test_a_credential_is_waited_for_through_a_bad_time(box: Box) -> None:
    for _ in range(3):
        box.holds(None)  # and nothing is deleted
    box.fails("ThrottlingException")
    box.script.add_client_error("get_item", "InternalServerError", http_status_code=500)
    box.holds(CREDENTIAL)
    box.deletes(CREDENTIAL)
    assert box.take(60) == CREDENTIAL
    assert box.pauses == [0.1, 0.2, 0.4, 1.0, 1.0]


def test_an_outage_that_lasts_to_the_deadline_is_raised(box: Box) -> None:
    for _ in range(3):
        box.fails("ThrottlingException")
    with pytest.raises(Transient):
        box.take(0.15)
    assert box.clock() == AT + timedelta(seconds=0.15)


def test_what_may_not_be_read_is_not_waited_for(box: Box) -> None:
    box.fails("AccessDeniedException")
    with pytest.raises(Refused):
        box.take(60)
    assert box.pauses == []


@pytest.mark.parametrize(
    ("code", "kind"), [("ThrottlingException", Transient), ("AccessDeniedException", Refused)]
)
def test_a_report_or_an_order_that_does_not_get_through_raises(
    code: str, kind: type[Exception], box: Box
) -> None:
    box.fails(code, "update_item")
    box.fails(code)
    with pytest.raises(kind, match=r"dynamodb\.UpdateItem"):
        box.box.report(OURS)
    with pytest.raises(kind, match=r"dynamodb\.GetItem"):
        box.box.order()
