"""Which partition key pays for a write, and the second in which one paid most."""

import json
from typing import Any

import pytest

from local.aws.partitions import (
    ItemChange,
    KeyUnits,
    Partitions,
    units_of_changes,
    units_of_refusal,
)

PLACE = "L/open"


def schema(name: str) -> list[dict[str, str]]:
    return [{"AttributeName": name, "KeyType": "HASH"}]


TABLES: dict[str, dict[str, Any]] = {
    "L": {
        "pk_name": "pk",
        "KeySchema": schema("pk"),
        "GlobalSecondaryIndexes": [
            {
                "IndexName": "open",
                "KeySchema": schema("pool"),
                "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["status"]},
            }
        ],
    }
}


def item(**values: str) -> dict[str, dict[str, str]]:
    return {name: {"S": value} for name, value in {"pk": "job", **values}.items()}


@pytest.mark.parametrize(
    ("before", "after", "units"),
    [
        pytest.param(None, item(), {"L job": 1}, id="made, in no index"),
        pytest.param(None, item(text="x" * 3000), {"L job": 3}, id="a unit a kilobyte"),
        pytest.param(item(text="x" * 3000), None, {"L job": 3}, id="ended, as large as it was"),
        pytest.param(None, item(pool="a"), {"L job": 1, "L/open a": 1}, id="made in an index"),
        pytest.param(
            item(pool="a"), item(pool="a", text="x"), {"L job": 1}, id="what no index shows"
        ),
        pytest.param(
            item(pool="a"), item(pool="a", status="x"), {"L job": 1, "L/open a": 1},
            id="what the index shows",
        ),
        pytest.param(
            item(pool="a"), item(pool="b"), {"L job": 1, "L/open a": 1, "L/open b": 1},
            id="from one key to another",
        ),
        pytest.param(item(pool="a"), item(), {"L job": 1, "L/open a": 1}, id="out of the index"),
    ],
)  # fmt: skip
def test_each_key_pays_for_what_is_written_at_it(
    before: Any, after: Any, units: dict[str, float]
) -> None:
    change = ItemChange(table="L", before=before, after=after)
    assert {
        f"{charge.target} {charge.key}": charge.units
        for charge in units_of_changes([change], TABLES)
    } == units


def test_a_transaction_costs_the_table_twice_and_the_index_once() -> None:
    change = ItemChange(table="L", before=None, after=item(pool="a"))
    assert [charge.units for charge in units_of_changes([change], TABLES, times=2)] == [2, 1]


KEY = {"TableName": "L", "Key": {"pk": {"S": "job"}}}


@pytest.mark.parametrize(
    ("action", "fields", "units"),
    [
        pytest.param("UpdateItem", KEY, [1], id="one"),
        pytest.param("PutItem", {"TableName": "L", "Item": item()}, [1], id="a whole row"),
        pytest.param(
            "TransactWriteItems", {"TransactItems": [{"Update": KEY}, {"Delete": KEY}]}, [2, 2],
            id="a transaction",
        ),
        pytest.param("GetItem", KEY, [], id="a read"),
    ],
)  # fmt: skip
def test_a_refused_write_costs_the_keys_that_it_names(
    action: str, fields: dict[str, Any], units: list[float]
) -> None:
    charges = list(units_of_refusal(action, json.dumps(fields).encode()))
    assert [charge.units for charge in charges] == units
    assert {(charge.target, charge.key) for charge in charges} <= {("L", "job")}


def test_the_worst_second_of_each_place_is_kept() -> None:
    partitions = Partitions()
    for second, key, units in ((1, "a", 3), (1, "b", 4), (1, "a", 3), (2, "b", 5), (1, "b", 2)):
        partitions.add(KeyUnits(target=PLACE, key=key, units=units), second=second)
    # What a thread counts late falls into the second that has begun.
    assert partitions.most() == {f"{PLACE} b": 7}
    partitions.reset()
    assert partitions.most() == {}
