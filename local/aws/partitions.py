"""DynamoDB's write units by partition key: what each write costs which key, and the worst second.

A partition takes 1,000 write units a second, and an index with one key for everything is one
partition, whose throttling also refuses the table's writes. Source: DynamoDB developer guide,
"Best practices for designing and using partition keys effectively".
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from ministack.services import dynamodb

TRANSACTION = "TransactWriteItems"  # costs the table twice, and its indexes once
_REFUSED = frozenset({"PutItem", "UpdateItem", "DeleteItem", TRANSACTION})
Item = Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemChange:
    """An item before and after a write; None where it is not there."""

    table: str
    before: Item
    after: Item


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUnits:
    """Write units of one key. `target`: a table, or `<table>/<index>`."""

    target: str
    key: str
    units: float


class Partitions:
    """The most write units that one key of each target took in a second; any thread may add."""

    def __init__(self) -> None:
        """Nothing was written."""
        self._lock = Lock()
        self._second = 0
        self._units: Counter[tuple[str, str]] = Counter()
        self._most: dict[str, KeyUnits] = {}

    def add(self, used: KeyUnits, *, second: int) -> None:
        """Count what a write costs, in the second of a clock that never goes back."""
        with self._lock:
            if second > self._second:
                self._second = second
                self._units.clear()
            self._units[used.target, used.key] += used.units  # type: ignore[assignment]
            units = self._units[used.target, used.key]
            if used.target not in self._most or units > self._most[used.target].units:
                self._most[used.target] = KeyUnits(target=used.target, key=used.key, units=units)

    def most(self) -> dict[str, float]:
        """The units of the worst second, by target and key."""
        with self._lock:
            return {
                f"{target} {most.key}": most.units for target, most in sorted(self._most.items())
            }

    def reset(self) -> None:
        """Reset all counts."""
        with self._lock:
            self._units.clear()
            self._most.clear()


def units_of_changes(
    changes: Sequence[ItemChange], tables: Mapping[str, Mapping[str, Any]], *, times: int = 1
) -> Iterator[KeyUnits]:
    """The units of what was written. `times`: what a unit of the table counts."""
    for change in changes:
        table = tables[change.table]
        sizes = [dynamodb._item_size_bytes(item) for item in (change.before, change.after) if item]
        key = _hash_key(table, change.after) or _hash_key(table, change.before)
        units = times * dynamodb._capacity_kb(max(sizes, default=0))
        yield KeyUnits(target=change.table, key=key, units=units)
        for index in table.get("GlobalSecondaryIndexes") or []:
            target = f"{change.table}/{index['IndexName']}"
            for key, before, after in _sides(index, change):
                units = dynamodb._index_write_units(table, index, before, after)
                if units:
                    yield KeyUnits(target=target, key=key, units=units)


def units_of_refusal(action: str, request: bytes) -> Iterator[KeyUnits]:
    """A write that a condition refuses costs a unit of each key that it names, two in a batch."""
    if action not in _REFUSED:
        return
    fields = json.loads(request)
    units = 2.0 if action == TRANSACTION else 1.0
    parts = fields.get("TransactItems") or [{action: fields}]
    for write in (write for part in parts for write in part.values()):
        item = write.get("Key") or write.get("Item") or {}
        yield KeyUnits(target=write["TableName"], key=_text(item.get("pk")), units=units)


def _sides(index: Mapping[str, Any], change: ItemChange) -> Iterator[tuple[str, Item, Item]]:
    """The keys of the index that a write touches, with the item as each of them sees it."""
    old, new = _hash_key(index, change.before), _hash_key(index, change.after)
    if old == new:
        yield new, change.before, change.after
        return
    yield old, change.before, None
    yield new, None, change.after


def _hash_key(schema: Mapping[str, Any], item: Item) -> str:
    """The partition key's value; empty without an item or the attribute."""
    names = (part["AttributeName"] for part in schema["KeySchema"] if part["KeyType"] == "HASH")
    return _text((item or {}).get(next(names)))


def _text(value: Any) -> str:
    """The content of a DynamoDB value."""
    return str(next(iter(value.values()), "")) if isinstance(value, Mapping) else ""
