"""The ledger's table on the engine and in memory: the same calls, and the same answers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from boto3.dynamodb.conditions import Attr, ConditionBase

from adapters.ledger.table import Change, Table, absent, exists, is_invalid
from fleet.errors import Refused
from fleet.reasons import Reason
from local.aws.engine import Engine
from tests.fakes import FakeTable
from tests.unit.infra.documents import properties

DECLARED = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
numbers = count()


@pytest.fixture(scope="module")
def on_engine(engine: Engine) -> Iterator[Table]:
    """A table as the template declares the ledger."""
    client: Any = engine.client("dynamodb")
    declared = properties("Ledger")
    client.create_table(TableName="contract", **{name: declared[name] for name in DECLARED})
    yield Table(client, "contract", pause=lambda _: None)
    client.delete_table(TableName="contract")


@pytest.fixture(params=["in memory", "on the engine"])
def table(request: pytest.FixtureRequest) -> Table:
    if request.param == "in memory":
        return FakeTable()
    table = request.getfixturevalue("on_engine")
    assert isinstance(table, Table)
    return table


@pytest.fixture
def pk() -> str:
    """A partition of the test's own."""
    return f"pool#{next(numbers)}"


def put(pk: str, sk: str, **facts: object) -> Change:
    return Change(pk=pk, sk=sk, put={"pk": pk, "sk": sk, **facts})


def test_what_is_put_is_read_back(table: Table, pk: str) -> None:
    facts = {
        "whole": 5,
        "huge": 10**20,
        "broken": 0.25,
        "yes": True,
        "no": False,
        "word": Reason.COVERED,
        "empty": "",
        "deep": {"list": [1, {"n": 1.5}], "none": None},
        "pair": ("a", "b"),
        "none": None,
        "time": datetime(2026, 8, 20, 11, tzinfo=ZoneInfo("Europe/Berlin")),
        "day": date(2026, 8, 20),
    }
    assert table.write(put(pk, "a", **facts))
    item = table.get(pk, "a")
    assert item == {
        "pk": pk,
        "sk": "a",
        "whole": 5,
        "huge": 10**20,
        "broken": 0.25,
        "yes": True,
        "no": False,
        "word": "covered",
        "empty": "",
        "deep": {"list": [1, {"n": 1.5}]},
        "pair": ["a", "b"],
        "time": "2026-08-20T09:00:00+00:00",
        "day": "2026-08-20",
    }
    assert isinstance(item["whole"], int)
    assert item["yes"] is True


def test_an_absent_item_is_none(table: Table, pk: str) -> None:
    assert table.get(pk, "a") is None
    assert list(table.query(pk)) == []
    assert table.get_many([(pk, "a")]) == {}
    assert table.write(Change(pk=pk, sk="a", delete=True))


def test_an_update_sets_adds_appends_and_removes_in_one_go(table: Table, pk: str) -> None:
    first = Change(
        pk=pk,
        sk="a",
        put={"x": 1, "status": "new"},
        once={"since": 1},
        add={"in_use": 2, "version": 1},
        append={"timeline": [{"step": "a"}], "other": ()},
    )
    again = Change(
        pk=pk,
        sk="a",
        put={"status": "old"},
        once={"since": 2, "name": "n"},
        add={"in_use": -1},
        append={"timeline": ({"step": "b"}, {"step": "c", "why": None})},
        remove=("x", "never_there"),
    )
    assert table.write(first)
    assert table.write(again)
    assert table.get(pk, "a") == {
        "pk": pk,
        "sk": "a",
        "status": "old",
        "since": 1,
        "name": "n",
        "in_use": 1,
        "version": 1,
        "timeline": [{"step": "a"}, {"step": "b"}, {"step": "c"}],
        "other": [],
    }


def test_attributes_that_are_only_removed_leave_the_rest(table: Table, pk: str) -> None:
    table.write(put(pk, "a", x=1, y=2, z=3))
    assert table.write(Change(pk=pk, sk="a", remove=("x", "z")))
    assert table.get(pk, "a") == {"pk": pk, "sk": "a", "y": 2}


def test_a_put_replaces_the_whole_item(table: Table, pk: str) -> None:
    table.write(put(pk, "a", x=1))
    table.write(put(pk, "a", y=2))
    assert table.get(pk, "a") == {"pk": pk, "sk": "a", "y": 2}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(Change(pk="", sk="a", put={"x": 2}, when=exists()), id="update"),
        pytest.param(Change(pk="", sk="a", delete=True, when=exists()), id="delete"),
    ],
)
def test_a_change_of_an_existing_item_makes_no_other(change: Change, table: Table, pk: str) -> None:
    fields: dict[str, Any] = {"put": change.put, "delete": change.delete, "when": change.when}
    assert not table.write(Change(pk=pk, sk="a", **fields))
    assert table.get(pk, "a") is None
    table.write(put(pk, "a", x=1))
    assert table.write(Change(pk=pk, sk="a", **fields))
    item = table.get(pk, "a")
    assert (item["x"] if item else None) == change.put.get("x")


def test_a_new_item_replaces_no_other(table: Table, pk: str) -> None:
    def new(x: int) -> Change:
        return Change(pk=pk, sk="a", put={"pk": pk, "sk": "a", "x": x}, when=absent())

    assert table.write(new(1))
    assert not table.write(new(2))
    assert table.get(pk, "a") == {"pk": pk, "sk": "a", "x": 1}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (Attr("n").lt(5), False),
        (Attr("n").lte(5), True),
        (Attr("n").eq(5) & Attr("word").eq("b"), True),
        (Attr("n").eq(6) & Attr("word").eq("b"), False),
        (Attr("n").eq(6) | Attr("word").lt("c"), True),
        (Attr("n").lt("9"), False),
        (Attr("nothing").lt(5), False),
        (Attr("nothing").not_exists() | Attr("nothing").lt(5), True),
        (exists() & Attr("nothing").not_exists(), True),
        (exists() & Attr("n").not_exists(), False),
        (Attr("flag").eq(1), False),
        (Attr("n").gt(4.5), True),
        (Attr("n").eq("5"), False),
        (Attr("nothing").ne(5), True),
        (Attr("word").begins_with("b"), True),
        (~Attr("n").eq(5), False),
    ],
)
def test_a_condition(condition: ConditionBase, holds: bool, table: Table, pk: str) -> None:
    table.write(put(pk, "a", n=5, word="b", flag=True))
    # the update has names and values of its own, which must not meet the condition's
    change = Change(pk=pk, sk="a", put={"word": "z", "seen": 7}, add={"n": 1}, when=condition)
    assert table.write(change) is holds
    item = table.get(pk, "a")
    assert item is not None
    assert (item["n"], item["word"], "seen" in item) == (
        (6, "z", True) if holds else (5, "b", False)
    )


def test_a_transaction_is_carried_out_whole_or_not_at_all(table: Table, pk: str) -> None:
    count_one = Change(
        pk=pk,
        sk="pool",
        add={"in_use": 1},
        when=Attr("in_use").not_exists() | Attr("in_use").lt(2),
    )

    def reserve(name: str) -> bool:
        runner = Change(pk=pk, sk=name, put={"pk": pk, "sk": name}, when=absent())
        return table.transact([count_one, runner])

    assert reserve("runner#a")
    assert not reserve("runner#a"), "it is there already"
    assert reserve("runner#b")
    assert not reserve("runner#c"), "there is no room"
    assert [item["sk"] for item in table.query(pk)] == ["pool", "runner#a", "runner#b"]
    assert table.get(pk, "pool") == {"pk": pk, "sk": "pool", "in_use": 2}
    gone = Change(pk=pk, sk="runner#a", delete=True, when=exists())
    back = Change(pk=pk, sk="pool", add={"in_use": -1})
    assert [table.transact([gone, back]) for _ in range(2)] == [True, False]
    assert table.get(pk, "pool") == {"pk": pk, "sk": "pool", "in_use": 1}


def test_a_transaction_takes_a_hundred_changes(table: Table, pk: str) -> None:
    assert table.transact([put(pk, f"{n:03d}") for n in range(100)])
    assert [item["sk"] for item in table.query(pk)] == [f"{n:03d}" for n in range(100)]


def test_any_number_of_keys_is_read_at_once(table: Table, pk: str) -> None:
    for start in (0, 100, 200):
        table.transact([put(pk, f"{n:03d}", n=n) for n in range(start, min(start + 100, 210))])
    keys = [(pk, f"{n:03d}") for n in range(0, 240, 2)]
    by_key = table.get_many([*keys, keys[0]])
    assert {key: item["n"] for key, item in by_key.items()} == {
        (pk, f"{n:03d}"): n for n in range(0, 210, 2)
    }


def test_a_partition_is_read_by_prefix_in_the_order_of_its_keys(table: Table, pk: str) -> None:
    for sk in ("runner#b", "pool", "runner#B", "runner#a", "runner"):
        table.write(put(pk, sk))
    table.write(put(f"{pk}x", "runner#c"))
    assert [item["sk"] for item in table.query(pk, "runner#")] == [
        "runner#B",
        "runner#a",
        "runner#b",
    ]
    assert len(list(table.query(pk))) == 5


def test_an_index_is_read_from_either_end(table: Table, pk: str) -> None:
    for n in (2, 1, 3):
        table.write(put(f"{pk}#{n}", "job", kind=pk, changed_at=f"2026-0{n}", timeline=["x"]))
    table.write(put(f"{pk}#4", "job", kind=pk))

    def read(**options: Any) -> list[str]:
        return [item["changed_at"] for item in table.query_index("kinds", "kind", pk, **options)]

    assert read() == ["2026-01", "2026-02", "2026-03"]
    assert read(newest_first=True) == ["2026-03", "2026-02", "2026-01"]
    assert read(newest_first=True, limit=2) == ["2026-03", "2026-02"]
    assert read(limit=5) == ["2026-01", "2026-02", "2026-03"]
    (first, *_) = table.query_index("kinds", "kind", pk)
    assert first["timeline"] == ["x"]


def test_an_item_leaves_an_index_with_its_key(table: Table, pk: str) -> None:
    table.write(put(f"{pk}#1", "job", open_pk=pk, open_sk="1", name="unit", timeline=["x"]))
    (shown,) = table.query_index("open", "open_pk", pk)
    assert (shown["name"], "timeline" in shown) == ("unit", False)
    table.write(Change(pk=f"{pk}#1", sk="job", remove=("open_pk", "open_sk")))
    assert list(table.query_index("open", "open_pk", pk)) == []


def test_of_many_writers_at_once_as_many_succeed_as_there_are_places(table: Table, pk: str) -> None:
    """All meet on the pool's row: those that are cancelled for that try again."""

    def reserve(n: int) -> bool:
        room = Attr("in_use").not_exists() | Attr("in_use").lt(5)
        count = Change(pk=pk, sk="pool", add={"in_use": 1}, when=room)
        return table.transact([count, put(pk, f"runner#{n}")])

    with ThreadPoolExecutor(8) as pacer:
        done = list(pacer.map(reserve, range(8)))
    assert sum(done) == 5
    assert len(list(table.query(pk, "runner#"))) == 5


@pytest.mark.parametrize("at_once", [False, True])
def test_a_counter_that_is_no_number_takes_no_more(table: Table, pk: str, *, at_once: bool) -> None:
    table.write(put(pk, "a", n="many"))
    change = Change(pk=pk, sk="a", add={"n": 1})
    other = Change(pk=pk, sk="b", add={"n": 1})
    with pytest.raises(Refused) as refused:
        _ = table.transact([other, change]) if at_once else table.write(change)
    assert is_invalid(refused.value)
    assert table.get(pk, "b") is None
