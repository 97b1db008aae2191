"""What DynamoDB says when writes meet, and what becomes of it."""

from typing import Any, cast

import pytest
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


def test_a_condition_that_failed_is_an_answer_and_not_asked_again() -> None:
    ledger, client, pauses = table(cancelled("TransactionConflict", "ConditionalCheckFailed"))
    assert not ledger.transact([CHANGE])
    assert (len(client.requests), pauses) == (1, [])


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


def test_a_transaction_that_meets_another_may_fail_its_condition_the_next_time() -> None:
    ledger, client, _ = table(cancelled("TransactionConflict"), cancelled("ConditionalCheckFailed"))
    assert not ledger.transact([CHANGE])
    assert len(client.requests) == 2


def untold(message: str) -> ClientError:
    """A cancelled transaction whose reasons stand in its message only."""
    error = {"Code": "TransactionCanceledException", "Message": message}
    return ClientError(cast("Any", {"Error": error}), "TransactWriteItems")


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(cancelled("None", "TransactionConflict"), id="conflict"),
        pytest.param(cancelled("ThrottlingError"), id="throttled"),
        pytest.param(cancelled("ProvisionedThroughputExceeded"), id="throughput"),
        pytest.param(refused("TransactionConflictException"), id="not begun"),
        pytest.param(untold("reasons [None, TransactionConflict]"), id="by message"),
        pytest.param(untold("reasons [ThrottlingError]"), id="throttled by message"),
    ],
)
def test_a_transaction_is_tried_again_until_its_time_is_over(error: ClientError) -> None:
    ledger, client, pauses = table(error)
    assert ledger.transact([CHANGE, Change(pk="a", sk="b", put={"x": 1})])
    assert (len(client.requests), len(pauses)) == (2, 1)
    ledger, client, pauses = table(*[error] * 9)
    with pytest.raises(Transient, match=r"dynamodb\.TransactWriteItems"):
        ledger.transact([CHANGE])
    assert len(client.requests) == len(pauses) == len(CONFLICT_PAUSES_S)


def test_a_write_that_conflicts_is_tried_again_until_its_time_is_over() -> None:
    conflict = refused("TransactionConflictException")
    ledger, client, _ = table(conflict)
    assert ledger.write(CHANGE)
    assert len(client.requests) == 2
    ledger, client, pauses = table(*[conflict] * 9)
    with pytest.raises(Transient, match=r"dynamodb\.UpdateItem"):
        ledger.write(CHANGE)
    assert len(client.requests) == len(pauses) == len(CONFLICT_PAUSES_S)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (cancelled("ValidationError"), "ValidationError"),
        (untold("something else altogether"), "TransactWriteItems"),
        (refused("AccessDeniedException"), "AccessDenied"),
    ],
)
def test_a_transaction_that_can_never_succeed_is_refused_at_once(
    error: ClientError, code: str
) -> None:
    ledger, client, _ = table(error)
    with pytest.raises(Refused, match=code):
        ledger.transact([CHANGE])
    assert len(client.requests) == 1


def test_a_write_without_permission_is_refused() -> None:
    with pytest.raises(Refused):
        table(refused("AccessDeniedException"))[0].write(CHANGE)


def test_a_failed_condition_is_read_from_the_message_too() -> None:
    ledger, _, _ = table(untold("[None, ConditionalCheckFailed]"))
    assert not ledger.transact([CHANGE])
