"""What the table in memory has beside DynamoDB's rules, which `test_table` shows on the engine."""

import pytest

from adapters.ledger.table import Change
from fleet.errors import Refused, Transient
from tests.fake_table import INDEXES, PROJECTED
from tests.fakes import FakeTable
from tests.unit.infra.documents import properties


def put(pk: str, sk: str, **facts: object) -> Change:
    return Change(pk=pk, sk=sk, put={"pk": pk, "sk": sk, **facts})


def test_a_transaction_has_at_most_100_changes_of_different_items() -> None:
    with pytest.raises(Refused):
        FakeTable().transact([put("a", str(n)) for n in range(101)])
    with pytest.raises(Refused):
        FakeTable().transact([put("a", "1"), put("a", "1")])


def test_an_index_may_lag() -> None:
    table = FakeTable()
    for n in (2, 1, 3):
        table.write(put(f"job#{n}", "job", kind="job", changed_at=f"2026-0{n}"))
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


def test_what_is_read_is_a_copy() -> None:
    table = FakeTable()
    table.write(put("a", "1", deep={"l": [1]}))
    item = table.get("a", "1")
    assert item is not None
    item["deep"]["l"].append(2)
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
