"""What DynamoDB says when writes meet, and what becomes of it."""

from typing import Any, cast

import pytest
from boto3.dynamodb.conditions import Attr
from botocore.exceptions import ClientError

from adapters.ledger.table import CONFLICT_PAUSES_S, Change, Table
from fleet.errors import Refused, Transient

CHANGE = Change(pk="pool#a", sk="pool", add={"in_use": 1})


def cancelled(*codes: str) -> ClientError:
    """DynamoDB's answer to a transaction that it did not carry out."""
    reasons = [{"Code": code} for code in codes]
    told = {"Code": "TransactionCanceledException", "Message": f"reasons [{', '.join(codes)}]"}
    return ClientError(
        cast("Any", {"Error": told, "CancellationReasons": reasons}), "TransactWriteItems"
    )


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "told so"}}, "UpdateItem")


class Scripted:
    """A client that answers with these errors in turn, and then well."""

    def __init__(self, *errors: ClientError) -> None:
        self.errors = list(errors)
        self.requests: list[dict[str, Any]] = []

    def _answer(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request)
        if self.errors:
            raise self.errors.pop(0)
        return {}

    transact_write_items = update_item = put_item = delete_item = _answer


def table(*errors: ClientError) -> tuple[Table, Scripted, list[float]]:
    client = Scripted(*errors)
    pauses: list[float] = []
    return Table(cast("Any", client), "ledger", pause=pauses.append), client, pauses


def test_transactions_that_meet_are_tried_again() -> None:
    ledger, client, pauses = table(cancelled("None", "TransactionConflict"))
    assert ledger.transact([CHANGE, Change(pk="a", sk="b", put={"x": 1})])
    assert len(client.requests) == 2
    assert len(pauses) == 1
    assert 0 < pauses[0] <= CONFLICT_PAUSES_S[0]


@pytest.mark.parametrize("code", ["ThrottlingError", "ProvisionedThroughputExceeded"])
def test_a_throttled_transaction_is_tried_again(code: str) -> None:
    ledger, client, _ = table(cancelled(code))
    assert ledger.transact([CHANGE])
    assert len(client.requests) == 2


def test_a_condition_that_failed_is_an_answer_and_not_asked_again() -> None:
    ledger, client, pauses = table(cancelled("TransactionConflict", "ConditionalCheckFailed"))
    assert not ledger.transact([CHANGE])
    assert (len(client.requests), pauses) == (1, [])


def test_the_reasons_are_read_from_the_message_where_they_are_nowhere_else() -> None:
    told = {"Code": "TransactionCanceledException", "Message": "[None, ConditionalCheckFailed]"}
    ledger, _, _ = table(ClientError(cast("Any", {"Error": told}), "TransactWriteItems"))
    assert not ledger.transact([CHANGE])


def test_a_conflict_that_lasts_is_for_a_later_try() -> None:
    ledger, client, pauses = table(*[cancelled("TransactionConflict")] * 9)
    with pytest.raises(Transient):
        ledger.transact([CHANGE])
    assert len(client.requests) == len(pauses) == len(CONFLICT_PAUSES_S)


def test_a_transaction_that_can_never_be_is_refused() -> None:
    ledger, client, _ = table(cancelled("ValidationError"))
    with pytest.raises(Refused, match="ValidationError"):
        ledger.transact([CHANGE])
    assert len(client.requests) == 1


def test_a_single_write_that_meets_a_transaction_is_tried_again() -> None:
    ledger, client, _ = table(refused("TransactionConflictException"))
    assert ledger.write(CHANGE)
    assert len(client.requests) == 2


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(CHANGE, id="update"),
        pytest.param(Change(pk="a", sk="b", delete=True), id="delete"),
        pytest.param(Change(pk="a", sk="b", put={"pk": "a", "sk": "b"}), id="put"),
    ],
)
def test_a_single_write_whose_condition_failed_says_so(change: Change) -> None:
    ledger, client, _ = table(refused("ConditionalCheckFailedException"))
    assert not ledger.write(change)
    assert len(client.requests) == 1


def test_a_single_write_that_may_not_be_is_refused() -> None:
    ledger, _, _ = table(refused("AccessDeniedException"))
    with pytest.raises(Refused):
        ledger.write(CHANGE)


def test_an_update_has_no_empty_map_that_dynamodb_would_refuse() -> None:
    ledger, client, _ = table()
    assert ledger.write(Change(pk="a", sk="b", remove=("open_pk",)))
    (request,) = client.requests
    assert request["UpdateExpression"] == "REMOVE #r0"
    assert "ExpressionAttributeValues" not in request


def test_names_and_values_of_a_condition_do_not_meet_those_of_the_update() -> None:
    ledger, client, _ = table()
    ledger.write(Change(pk="a", sk="b", put={"state": "busy"}, when=Attr("state").eq("idle")))
    (request,) = client.requests
    assert set(request["ExpressionAttributeNames"].values()) == {"state"}
    assert len(request["ExpressionAttributeValues"]) == 2


def test_a_single_write_that_never_gets_through_is_for_a_later_try() -> None:
    ledger, client, pauses = table(*[refused("TransactionConflictException")] * 9)
    with pytest.raises(Transient, match=r"dynamodb\.UpdateItem"):
        ledger.write(CHANGE)
    assert len(client.requests) == len(pauses) == len(CONFLICT_PAUSES_S)


@pytest.mark.parametrize("write", ["transact", "write"])
def test_each_pause_is_longer_and_no_two_writers_pause_alike(write: str) -> None:
    """At least half of each pause: writers that met once must not meet again in step."""
    errors = [refused("TransactionConflictException")] * 9
    told = []
    for _ in range(2):
        ledger, _, pauses = table(*errors)
        with pytest.raises(Transient):
            ledger.write(CHANGE) if write == "write" else ledger.transact([CHANGE])
        assert all(
            most / 2 <= pause <= most for most, pause in zip(CONFLICT_PAUSES_S, pauses, strict=True)
        )
        assert sum(pauses) < 2
        told.append(pauses)
    assert told[0] != told[1]


def test_a_transaction_that_is_not_even_begun_is_tried_again() -> None:
    ledger, client, _ = table(refused("TransactionConflictException"))
    assert ledger.transact([CHANGE])
    assert len(client.requests) == 2


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("reasons [None, TransactionConflict]", Transient),
        ("reasons [ThrottlingError]", Transient),
        ("something else altogether", Refused),
    ],
)
def test_a_message_without_reasons_is_read_for_its_words(
    message: str, kind: type[Exception]
) -> None:
    told = {"Code": "TransactionCanceledException", "Message": message}
    error = ClientError(cast("Any", {"Error": told}), "TransactWriteItems")
    ledger, _, _ = table(*[error] * 9)
    with pytest.raises(kind, match="TransactWriteItems"):
        ledger.transact([CHANGE])


def test_a_transaction_that_meets_another_may_fail_its_condition_the_next_time() -> None:
    ledger, client, _ = table(cancelled("TransactionConflict"), cancelled("ConditionalCheckFailed"))
    assert not ledger.transact([CHANGE])
    assert len(client.requests) == 2


def test_a_transaction_that_may_not_be_is_refused() -> None:
    ledger, client, _ = table(refused("AccessDeniedException"))
    with pytest.raises(Refused, match="AccessDenied"):
        ledger.transact([CHANGE])
    assert len(client.requests) == 1
