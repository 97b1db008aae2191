"""What DynamoDB is asked for, and how its answers in parts become one."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
from botocore import xform_name
from botocore.stub import Stubber

from adapters.ledger.table import Table
from fleet.errors import Refused, Transient
from tests.unit.adapters.stubs import scripted


def stored(pk: str, sk: str, **numbers: int) -> dict[str, Any]:
    """An item as DynamoDB has it."""
    return {"pk": {"S": pk}, "sk": {"S": sk}} | {k: {"N": str(n)} for k, n in numbers.items()}


class Ledger:
    """A table, its script, and how long it paused."""

    def __init__(self, client: Any, script: Stubber) -> None:
        self.script = script
        self.pauses: list[float] = []
        self.table = Table(client, "ledger", pause=self.pauses.append)

    def gets(self, *asked: str, found: tuple[str, ...], left: tuple[str, ...] = ()) -> None:
        """The next reading of these sort keys of `a` brings some; some are left for later."""
        keys = [stored("a", sk) for sk in asked]
        unread = {"ledger": {"Keys": [stored("a", sk) for sk in left], "ConsistentRead": True}}
        self.script.add_response(
            "batch_get_item",
            {
                "Responses": {"ledger": [stored("a", sk, n=int(sk)) for sk in found]},
                "UnprocessedKeys": unread if left else {},
            },
            {"RequestItems": {"ledger": {"Keys": keys, "ConsistentRead": True}}},
        )

    def answers(self, *items: dict[str, Any], last: str | None = None, **asked: Any) -> None:
        """The next page of a query."""
        told: dict[str, Any] = {"Items": list(items)}
        if last:
            told["LastEvaluatedKey"] = stored("a", last)
        self.script.add_response("query", told, {"TableName": "ledger"} | asked)


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
    "IndexName": "recent",
    "KeyConditionExpression": "#n0 = :v0",
    "ExpressionAttributeNames": {"#n0": "kind"},
    "ExpressionAttributeValues": {":v0": {"S": "job"}},
}


def test_one_item_is_read_as_it_was_written_last(ledger: Ledger) -> None:
    asked = {"TableName": "ledger", "Key": stored("a", "b"), "ConsistentRead": True}
    ledger.script.add_response("get_item", {"Item": stored("a", "b", n=7)}, asked)
    assert ledger.table.get("a", "b") == {"pk": "a", "sk": "b", "n": 7}


def test_numbers_are_python_s_own_however_deep_they_lie(ledger: Ledger) -> None:
    inner = {"L": [{"N": "1"}, {"M": {"x": {"N": "0.5"}}}, {"S": "7"}]}
    item = stored("a", "b", n=7) | {"half": {"N": "7.5"}, "deep": inner, "yes": {"BOOL": True}}
    ledger.script.add_response("get_item", {"Item": item})
    found = ledger.table.get("a", "b")
    assert found is not None
    assert repr({name: found[name] for name in ("n", "half", "deep", "yes")}) == repr(
        {"n": 7, "half": 7.5, "deep": [1, {"x": 0.5}, "7"], "yes": True}
    )


def test_many_items_are_read_a_hundred_a_call(ledger: Ledger) -> None:
    names = tuple(str(n) for n in range(201))
    for part in (names[:100], names[100:200], names[200:]):
        ledger.gets(*part, found=part)
    found = ledger.table.get_many(("a", sk) for sk in names)
    assert [item["n"] for item in found.values()] == list(range(201))
    assert ledger.pauses == []


def test_what_dynamodb_left_unread_is_asked_for_again_after_a_pause(ledger: Ledger) -> None:
    ledger.gets("1", "2", "3", found=("2",), left=("1", "3"))
    ledger.gets("1", "3", found=("1",), left=("3",))
    ledger.gets("3", found=())
    found = ledger.table.get_many([("a", sk) for sk in "123"])
    assert set(found) == {("a", "1"), ("a", "2")}
    assert len(ledger.pauses) == 2
    assert all(0 < pause_s < 1 for pause_s in ledger.pauses)


def test_a_reading_that_gets_nowhere_is_for_a_later_try(ledger: Ledger) -> None:
    ledger.gets("1", "2", found=("1",), left=("2",))
    for _ in range(6):
        ledger.gets("2", found=(), left=("2",))
    with pytest.raises(Transient, match=r"dynamodb\.BatchGetItem, code=UnprocessedKeys"):
        ledger.table.get_many([("a", "1"), ("a", "2")])
    assert ledger.pauses == sorted(ledger.pauses)
    assert ledger.pauses[-1] > ledger.pauses[0]


def test_a_reading_that_gets_on_is_not_given_up(ledger: Ledger) -> None:
    names = [str(n) for n in range(9)]
    for n in range(9):
        rest = tuple(names[n + 1 :])
        ledger.gets(*names[n:], found=(names[n],), left=rest)
    assert len(ledger.table.get_many([("a", sk) for sk in names])) == 9
    assert len(set(ledger.pauses)) == 1, "there was no reason to wait for longer"


def test_a_key_is_read_once_however_often_it_is_named(ledger: Ledger) -> None:
    ledger.gets("1", "2", found=("1",))
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
    found = ledger.table.query_index("recent", "kind", "job", limit=3)
    assert [item["sk"] for item in found] == ["1", "2", "3"]


def test_a_page_is_asked_for_only_when_it_is_wanted(ledger: Ledger) -> None:
    ledger.answers(stored("a", "1"), stored("a", "2"), last="2", ScanIndexForward=True, **INDEX)
    found = ledger.table.query_index("recent", "kind", "job")
    assert [item["sk"] for item in islice(found, 2)] == ["1", "2"]


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
