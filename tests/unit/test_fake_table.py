"""The table in memory follows DynamoDB's rules, so that tests on it mean something."""

import pytest
from boto3.dynamodb.conditions import Attr, ConditionBase

from adapters.ledger.table import Change, absent, exists
from fleet.errors import Refused, Transient
from fleet.reasons import Reason
from tests.fake_table import INDEXES, PROJECTED
from tests.fakes import FakeTable
from tests.unit.infra.documents import properties


def put(pk: str, sk: str, **facts: object) -> Change:
    return Change(pk=pk, sk=sk, put={"pk": pk, "sk": sk, **facts})


@pytest.mark.parametrize(
    ("condition", "is_true"),
    [
        (Attr("n").eq(5), True),
        (Attr("n").lt(5), False),
        (Attr("n").lte(5), True),
        (Attr("n").gt(4.5), True),
        (Attr("n").eq("5"), False),
        (Attr("nothing").lt(5), False),
        (Attr("nothing").ne(5), True),
        (Attr("nothing").exists(), False),
        (Attr("n").exists() & Attr("nothing").not_exists(), True),
        (Attr("n").eq(6) | Attr("word").eq("covered"), True),
        (Attr("word").eq(Reason.COVERED), True),
        (Attr("word").begins_with("cov"), True),
        (~Attr("n").eq(5), False),
        (exists(), True),
        (absent(), False),
    ],
)
def test_a_write_is_carried_out_only_when_its_condition_holds(
    condition: ConditionBase, is_true: bool
) -> None:
    table = FakeTable()
    table.write(put("a", "1", n=5, word=Reason.COVERED))
    assert table.write(Change(pk="a", sk="1", put={"seen": True}, when=condition)) is is_true
    assert ("seen" in table.items["a", "1"]) is is_true


def test_an_update_sets_adds_appends_and_removes_on_what_was_there() -> None:
    table = FakeTable()
    first = Change(pk="a", sk="1", put={"x": 1}, once={"y": 1}, add={"n": 2}, append={"l": ["a"]})
    again = Change(
        pk="a", sk="1", once={"y": 2}, add={"n": -1}, append={"l": ["b"]}, remove=("x", "zz")
    )
    assert table.write(first)
    assert table.write(again)
    assert table.get("a", "1") == {"pk": "a", "sk": "1", "y": 1, "n": 1, "l": ["a", "b"]}


def test_a_put_replaces_the_item_and_leaves_nothing_out_but_none() -> None:
    table = FakeTable()
    table.write(put("a", "1", x=1))
    table.write(put("a", "1", y=0, z=None, deep={"k": None, "f": 1.5}))
    assert table.get("a", "1") == {"pk": "a", "sk": "1", "y": 0, "deep": {"f": 1.5}}


def test_a_transaction_is_carried_out_whole_or_not_at_all() -> None:
    table = FakeTable()
    table.write(put("a", "1", n=1))
    refused = [put("b", "1"), Change(pk="a", sk="1", add={"n": 1}, when=Attr("n").lt(1))]
    assert table.transact(refused) is False
    assert table.get("b", "1") is None
    assert table.transact([put("b", "1"), Change(pk="a", sk="1", delete=True, when=exists())])
    assert set(table.items) == {("b", "1")}


def test_a_transaction_has_at_most_100_changes_of_different_items() -> None:
    with pytest.raises(Refused):
        FakeTable().transact([put("a", str(n)) for n in range(101)])
    with pytest.raises(Refused):
        FakeTable().transact([put("a", "1"), put("a", "1")])


def test_a_partition_is_read_in_the_order_of_its_sort_keys() -> None:
    table = FakeTable()
    for sk in ("runner#b", "pool", "runner#B", "runner#a"):
        table.write(put("pool#x", sk))
    table.write(put("pool#y", "runner#a"))
    assert [item["sk"] for item in table.query("pool#x", "runner#")] == [
        "runner#B",
        "runner#a",
        "runner#b",
    ]
    assert len(list(table.query("pool#x"))) == 4


def test_an_index_has_the_items_with_both_of_its_keys_and_may_lag() -> None:
    table = FakeTable()
    for n in (2, 1, 3):
        table.write(put(f"job#{n}", "job", kind="job", changed_at=f"2026-0{n}"))
    table.write(put("job#4", "job", kind="job"))
    newest = table.query_index("kinds", "kind", "job", newest_first=True, limit=2)
    assert [item["pk"] for item in newest] == ["job#3", "job#2"]
    table.lag()
    table.write(Change(pk="job#3", sk="job", remove=("kind",)))
    assert len(list(table.query_index("kinds", "kind", "job"))) == 3
    table.catch_up()
    assert len(list(table.query_index("kinds", "kind", "job"))) == 2


def test_an_index_holds_what_the_template_says() -> None:
    declared = properties("Ledger")["GlobalSecondaryIndexes"]
    for index in declared:
        keys = tuple(key["AttributeName"] for key in index["KeySchema"])
        assert INDEXES[index["IndexName"]] == keys
        projection = index["Projection"]
        held = projection.get("NonKeyAttributes")
        assert PROJECTED.get(index["IndexName"]) == (frozenset(held) if held else None)
    assert len(declared) == len(INDEXES)


def test_the_index_of_waiting_jobs_leaves_the_history_out() -> None:
    table = FakeTable()
    table.write(put("job#1", "job", open_pk="pool#a", open_sk="1", name="unit", timeline=["x"]))
    (item,) = table.query_index("open", "open_pk", "pool#a")
    assert (item["name"], "timeline" in item) == ("unit", False)


def test_what_is_read_is_a_copy() -> None:
    table = FakeTable()
    table.write(put("a", "1", deep={"l": [1]}))
    found = table.get("a", "1")
    assert found is not None
    found["deep"]["l"].append(2)
    assert table.items["a", "1"]["deep"] == {"l": [1]}


@pytest.mark.parametrize(
    "change",
    [
        Change(pk="a", sk="1", put={"sk": "2"}),
        Change(pk="a", sk="1"),
        Change(pk="a", sk="1", put={"x": 1}, remove=("x",)),
        Change(pk="a", sk="1", put={"open_pk": ""}),
        Change(pk="a", sk="1", put={"kind": 5}),
    ],
)
def test_what_dynamodb_refuses_is_refused(change: Change) -> None:
    with pytest.raises(AssertionError):
        FakeTable().write(change)


def test_a_failure_that_was_asked_for_comes_once() -> None:
    table = FakeTable()
    table.failing = Transient()
    with pytest.raises(Transient):
        table.get("a", "1")
    assert table.get("a", "1") is None
