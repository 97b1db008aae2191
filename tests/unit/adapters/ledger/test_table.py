"""What DynamoDB says when writes meet, and what becomes of it."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, cast

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from adapters.ledger.table import CONFLICT_PAUSES_S, Change, Table
from fleet.errors import Refused, Transient
from tests.unit.adapters.stubs import scripted

CHANGE = Change(pk="pool#a", sk="pool", add={"in_use": 1})


def cancelled(*codes: str) -> ClientError:
    """DynamoDB's answer to a transaction that it did not carry out."""
    reasons = [{"Code": code} for code in codes]
    error = {"Code": "TransactionCanceledException", "Message": f"reasons [{', '.join(codes)}]"}
    return ClientError(
        cast("Any", {"Error": error, "CancellationReasons": reasons}), "TransactWriteItems"
    )


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "refused"}}, "UpdateItem")


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


def untold(message: str) -> ClientError:
    """A cancelled transaction whose reasons stand in its message only."""
    error = {"Code": "TransactionCanceledException", "Message": message}
    return ClientError(cast("Any", {"Error": error}), "TransactWriteItems")


def transact(ledger: Table) -> bool:
    return ledger.transact([CHANGE, Change(pk="a", sk="b", put={"x": 1})])


def write(ledger: Table) -> bool:
    return ledger.write(CHANGE)


CONFLICT = refused("TransactionConflictException")
UNMET = refused("ConditionalCheckFailedException")


@pytest.mark.parametrize(
    ("call", "errors"),
    [
        pytest.param(
            transact, [cancelled("TransactionConflict", "ConditionalCheckFailed")], id="transaction"
        ),
        pytest.param(transact, [untold("[None, ConditionalCheckFailed]")], id="by message"),
        pytest.param(
            transact,
            [cancelled("TransactionConflict"), cancelled("ConditionalCheckFailed")],
            id="the next time",
        ),
        pytest.param(write, [UNMET], id="update"),
        pytest.param(
            lambda ledger: ledger.write(Change(pk="a", sk="b", delete=True)), [UNMET], id="delete"
        ),
        pytest.param(
            lambda ledger: ledger.write(Change(pk="a", sk="b", put={"pk": "a", "sk": "b"})),
            [UNMET],
            id="put",
        ),
    ],
)
def test_a_condition_that_failed_is_an_answer_and_not_asked_again(
    call: Callable[[Table], bool], errors: list[ClientError]
) -> None:
    ledger, client, pauses = table(*errors)
    assert not call(ledger)
    assert (len(client.requests), len(pauses)) == (len(errors), len(errors) - 1)


@pytest.mark.parametrize("call", [transact, write])
def test_each_pause_is_longer_and_no_two_writers_pause_alike(call: Callable[[Table], bool]) -> None:
    """At least half of each pause: writers that met once must not meet again in step."""
    series = []
    for _ in range(2):
        ledger, _, pauses = table(*[CONFLICT] * 9)
        with pytest.raises(Transient):
            call(ledger)
        assert all(
            most / 2 <= pause <= most for most, pause in zip(CONFLICT_PAUSES_S, pauses, strict=True)
        )
        assert sum(pauses) < 2
        series.append(pauses)
    assert series[0] != series[1]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        pytest.param(transact, cancelled("None", "TransactionConflict"), id="conflict"),
        pytest.param(transact, cancelled("ThrottlingError"), id="throttled"),
        pytest.param(transact, cancelled("ProvisionedThroughputExceeded"), id="throughput"),
        pytest.param(transact, CONFLICT, id="not begun"),
        pytest.param(transact, untold("reasons [None, TransactionConflict]"), id="by message"),
        pytest.param(transact, untold("reasons [ThrottlingError]"), id="throttled by message"),
        pytest.param(write, CONFLICT, id="a single write"),
    ],
)
def test_a_conflict_is_tried_again_until_its_time_is_over(
    call: Callable[[Table], bool], error: ClientError
) -> None:
    ledger, client, pauses = table(error)
    assert call(ledger)
    assert (len(client.requests), len(pauses)) == (2, 1)
    ledger, client, pauses = table(*[error] * 9)
    name = "UpdateItem" if call is write else "TransactWriteItems"
    with pytest.raises(Transient, match=rf"dynamodb\.{name}"):
        call(ledger)
    assert len(client.requests) == len(pauses) == len(CONFLICT_PAUSES_S)


@pytest.mark.parametrize(
    ("call", "error", "code"),
    [
        (transact, cancelled("ValidationError"), "ValidationError"),
        (transact, untold("something else altogether"), "TransactWriteItems"),
        (transact, refused("AccessDeniedException"), "AccessDenied"),
        (write, refused("AccessDeniedException"), "AccessDenied"),
    ],
)
def test_a_write_that_can_never_succeed_is_refused_at_once(
    call: Callable[[Table], bool], error: ClientError, code: str
) -> None:
    ledger, client, _ = table(error)
    with pytest.raises(Refused, match=code):
        call(ledger)
    assert len(client.requests) == 1


def stored(pk: str, sk: str, **numbers: int) -> dict[str, Any]:
    """An item as DynamoDB has it."""
    return {"pk": {"S": pk}, "sk": {"S": sk}} | {k: {"N": str(n)} for k, n in numbers.items()}


class Ledger:
    """A table, its script, and how long it paused."""

    def __init__(self, client: Any, script: Stubber) -> None:
        self.script = script
        self.pauses: list[float] = []
        self.table = Table(client, "ledger", pause=self.pauses.append)

    def gets(
        self, *sort_keys: str, shown: tuple[str, ...], unprocessed: tuple[str, ...] = ()
    ) -> None:
        """The next reading of these sort keys of `a` brings some; some are left for later."""
        keys = [stored("a", sk) for sk in sort_keys]
        unread = {
            "ledger": {"Keys": [stored("a", sk) for sk in unprocessed], "ConsistentRead": True}
        }
        self.script.add_response(
            "batch_get_item",
            {
                "Responses": {"ledger": [stored("a", sk, n=int(sk)) for sk in shown]},
                "UnprocessedKeys": unread if unprocessed else {},
            },
            {"RequestItems": {"ledger": {"Keys": keys, "ConsistentRead": True}}},
        )

    def answers(self, *items: dict[str, Any], last: str | None = None, **expected: Any) -> None:
        """The next page of a query."""
        answer: dict[str, Any] = {"Items": list(items)}
        if last:
            answer["LastEvaluatedKey"] = stored("a", last)
        self.script.add_response("query", answer, {"TableName": "ledger"} | expected)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    with scripted("dynamodb") as (client, script):
        yield Ledger(client, script)


PARTITION: dict[str, Any] = {
    "KeyConditionExpression": "#n0 = :v0",
    "ExpressionAttributeNames": {"#n0": "pk"},
    "ExpressionAttributeValues": {":v0": {"S": "a"}},
    "ConsistentRead": True,
}


INDEX: dict[str, Any] = {
    "IndexName": "kinds",
    "KeyConditionExpression": "#n0 = :v0",
    "ExpressionAttributeNames": {"#n0": "kind"},
    "ExpressionAttributeValues": {":v0": {"S": "job"}},
}


def test_one_item_is_read_as_it_was_written_last(ledger: Ledger) -> None:
    request = {"TableName": "ledger", "Key": stored("a", "b"), "ConsistentRead": True}
    ledger.script.add_response("get_item", {"Item": stored("a", "b", n=7)}, request)
    assert ledger.table.get("a", "b") == {"pk": "a", "sk": "b", "n": 7}


def test_numbers_are_python_s_own_however_deep_they_lie(ledger: Ledger) -> None:
    inner = {"L": [{"N": "1"}, {"M": {"x": {"N": "0.5"}}}, {"S": "7"}]}
    item = stored("a", "b", n=7) | {"half": {"N": "7.5"}, "deep": inner, "yes": {"BOOL": True}}
    ledger.script.add_response("get_item", {"Item": item})
    shown = ledger.table.get("a", "b")
    assert shown is not None
    assert repr({name: shown[name] for name in ("n", "half", "deep", "yes")}) == repr(
        {"n": 7, "half": 7.5, "deep": [1, {"x": 0.5}, "7"], "yes": True}
    )


def test_many_items_are_read_a_hundred_a_call(ledger: Ledger) -> None:
    names = tuple(str(n) for n in range(201))
    for part in (names[:100], names[100:200], names[200:]):
        ledger.gets(*part, shown=part)
    items = ledger.table.get_many(("a", sk) for sk in names)
    assert [item["n"] for item in items.values()] == list(range(201))
    assert ledger.pauses == []


def test_what_dynamodb_left_unread_is_asked_for_again_after_a_pause(ledger: Ledger) -> None:
    ledger.gets("1", "2", "3", shown=("2",), unprocessed=("1", "3"))
    ledger.gets("1", "3", shown=("1",), unprocessed=("3",))
    ledger.gets("3", shown=())
    items = ledger.table.get_many([("a", sk) for sk in "123"])
    assert set(items) == {("a", "1"), ("a", "2")}
    assert len(ledger.pauses) == 2
    assert all(0 < pause_s < 1 for pause_s in ledger.pauses)


def test_a_reading_that_gets_nowhere_is_for_a_later_try(ledger: Ledger) -> None:
    ledger.gets("1", "2", shown=("1",), unprocessed=("2",))
    for _ in range(6):
        ledger.gets("2", shown=(), unprocessed=("2",))
    with pytest.raises(Transient, match=r"dynamodb\.BatchGetItem, code=UnprocessedKeys"):
        ledger.table.get_many([("a", "1"), ("a", "2")])
    assert ledger.pauses == sorted(ledger.pauses)
    assert ledger.pauses[-1] > ledger.pauses[0]


def test_a_reading_that_gets_on_is_not_given_up(ledger: Ledger) -> None:
    names = [str(n) for n in range(9)]
    for n in range(9):
        rest = tuple(names[n + 1 :])
        ledger.gets(*names[n:], shown=(names[n],), unprocessed=rest)
    assert len(ledger.table.get_many([("a", sk) for sk in names])) == 9
    assert len(set(ledger.pauses)) == 1, "there was no reason to wait for longer"


def test_a_key_is_read_once_however_often_it_is_named(ledger: Ledger) -> None:
    ledger.gets("1", "2", shown=("1",))
    assert set(ledger.table.get_many([("a", "1"), ("a", "2"), ("a", "1")])) == {("a", "1")}


def test_a_partition_is_read_page_after_page(ledger: Ledger) -> None:
    ledger.answers(stored("a", "1"), stored("a", "2"), last="2", **PARTITION)
    ledger.answers(last="4", ExclusiveStartKey=stored("a", "2"), **PARTITION)  # an empty page
    ledger.answers(stored("a", "5"), ExclusiveStartKey=stored("a", "4"), **PARTITION)
    assert [item["sk"] for item in ledger.table.query("a")] == ["1", "2", "5"]


def test_an_index_is_not_read_beyond_the_limit(ledger: Ledger) -> None:
    limited: dict[str, Any] = {"ScanIndexForward": True, "Limit": 3}
    ledger.answers(stored("a", "1"), stored("a", "2"), last="2", **INDEX, **limited)
    rest: dict[str, Any] = {"ExclusiveStartKey": stored("a", "2")}
    ledger.answers(stored("a", "3"), stored("a", "4"), last="4", **INDEX, **limited, **rest)
    items = ledger.table.query_index("kinds", "kind", "job", limit=3)
    assert [item["sk"] for item in items] == ["1", "2", "3"]


def test_a_page_is_asked_for_only_when_it_is_wanted(ledger: Ledger) -> None:
    ledger.answers(stored("a", "1"), stored("a", "2"), last="2", ScanIndexForward=True, **INDEX)
    items = ledger.table.query_index("kinds", "kind", "job")
    assert [item["sk"] for item in islice(items, 2)] == ["1", "2"]


@pytest.mark.parametrize(
    ("call", "code", "kind"),
    [
        ("GetItem", "ThrottlingException", Transient),
        ("GetItem", "AccessDeniedException", Refused),
        ("BatchGetItem", "RequestLimitExceeded", Transient),
        ("Query", "InternalServerError", Transient),
    ],
)
def test_a_reading_that_failed_is_not_an_empty_ledger(
    call: str, code: str, kind: type[Exception], ledger: Ledger
) -> None:
    read: dict[str, Callable[[Table], object]] = {
        "GetItem": lambda table: table.get("a", "b"),
        "BatchGetItem": lambda table: table.get_many([("a", "b")]),
        "Query": lambda table: list(table.query("a")),
    }
    ledger.script.add_client_error(xform_name(call), code)
    with pytest.raises(kind, match=rf"call=dynamodb\.{call}"):
        read[call](ledger.table)
