"""`adapters.ledger.table.Table` in memory, with DynamoDB's rules."""

import marshal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from operator import eq, ge, gt, le, lt
from threading import RLock
from typing import Any

from boto3.dynamodb.conditions import AttributeBase, ConditionBase, Size

from adapters.ledger.table import TRANSACT, Change, Item, Table, of_dynamodb, to_dynamodb
from fleet.errors import FleetError, Refused
from fleet.events import WARNING, RowsUnreadable, emit

INDEXES = {
    "open": ("open_pk", "open_sk"),
    "recent": ("recent_pk", "changed_at"),
    "kinds": ("kind", "changed_at"),
}
# What two indexes hold besides the keys; the third holds whole items.
_OF_WAITING = """
    instance job_id project_id project_path name tags status pending_at pool reason attempt
    on_demand given_up pipeline_id changed_at
"""
_OF_RECENT = """
    instance job_id project_id project_path name tags status outcome pending_at pool reason
    runner_id started_at finished_at failure_reason id machine_id launched_at ended_at
"""
PROJECTED = {"open": frozenset(_OF_WAITING.split()), "recent": frozenset(_OF_RECENT.split())}
ITEM_LIMIT = 400_000  # bytes, of DynamoDB
KEYS = frozenset({"pk", "sk"})


class FakeTable(Table):
    """One table: conditions, updates, transactions and indexes, which may lag."""

    def __init__(self, name: str = "ledger") -> None:
        self.name = name
        self.unreadable: set[str] = set()
        self.warn: Callable[[RowsUnreadable], None] = partial(emit, level=WARNING)
        self.items: dict[tuple[str, str], Item] = {}
        self.writes = 0  # that were carried out, each change of a transaction counted
        self.failing: FleetError | None = None  # raised by the next call
        self._stale: dict[tuple[str, str], Item] | None = None
        self._lock = RLock()

    @cached_property
    def mail(self) -> "FakeTable":
        """The mailboxes' table, to which a transaction of this one may write as well."""
        return FakeTable("mailboxes")

    def lag(self) -> None:
        """From now on the indexes show what is there now, until `catch_up`."""
        self._stale = _copy(self.items)

    def catch_up(self) -> None:
        """The indexes show what the table has."""
        self._stale = None

    def get(self, pk: str, sk: str) -> Item | None:
        self._may_fail()
        item: Item | None = _copy(self.items.get((pk, sk)))
        return item

    def each(self, keys: Iterable[tuple[str, str]]) -> Iterator[Item]:
        self._may_fail()
        yield from [_copy(self.items[key]) for key in keys if key in self.items]

    def query(self, pk: str, prefix: str = "") -> Iterator[Item]:
        self._may_fail()
        with self._lock:
            keys = [key for key in self.items if key[0] == pk and key[1].startswith(prefix)]
            items = [self.items[key] for key in sorted(keys, key=lambda key: key[1].encode())]
            yield from _copy(items)

    def query_index(
        self, index: str, key: str, value: str, *, newest_first: bool = False, limit: int = 0
    ) -> Iterator[Item]:
        self._may_fail()
        hash_key, range_key = INDEXES[index]
        assert key == hash_key, f"the index {index} is by {hash_key}"
        with self._lock:
            items = (self.items if self._stale is None else self._stale).values()
            matching = [item for item in items if item.get(key) == value and range_key in item]
            matching.sort(key=lambda item: item[range_key].encode(), reverse=newest_first)
            shown = _copy(matching[:limit] if limit else matching)
        held = PROJECTED.get(index)
        for item in shown:
            keys = {*KEYS, hash_key, range_key}
            yield item if held is None else {k: v for k, v in item.items() if k in held | keys}

    def write(self, change: Change) -> bool:
        return self._carry_out([change])

    def update(self, change: Change) -> Item | None:
        if not self.write(change):
            return None
        after: Item = _copy(self.items[change.pk, change.sk])
        return after

    def transact(self, changes: Sequence[Change]) -> bool:
        if not 0 < len(changes) <= TRANSACT:
            raise Refused("a transaction takes 1 to 100 changes", changes=len(changes))
        if len({(change.table, change.pk, change.sk) for change in changes}) < len(changes):
            raise Refused("a transaction may change an item once")
        return self._carry_out(changes)

    def _carry_out(self, changes: Sequence[Change]) -> bool:
        self._may_fail()
        with self._lock:
            tables = [self.mail if change.table == self.mail.name else self for change in changes]
            each = list(zip(changes, tables, strict=True))
            if not all(
                holds(change.when, of.items.get((change.pk, change.sk), {})) for change, of in each
            ):
                return False
            for of, change, item in [(of, change, _after(change, of.items)) for change, of in each]:
                of.items.pop((change.pk, change.sk), None)
                if item is not None:
                    of.items[change.pk, change.sk] = item
                of.writes += 1
        return True

    def _may_fail(self) -> None:
        failing, self.failing = self.failing, None
        if failing is not None:
            raise failing


def holds(condition: ConditionBase | None, item: Item) -> bool:
    """Whether a condition of boto3 holds for an item; an absent attribute equals nothing."""
    if condition is None:
        return True
    expression = condition.get_expression()
    operator, values = expression["operator"], expression["values"]
    if operator in _JOINS:
        return bool(_JOINS[operator](holds(value, item) for value in values))
    if operator == "NOT":
        return not holds(values[0], item)
    there = _value(values[0], item)
    if operator in _PRESENCE:
        return (there is not None) is _PRESENCE[operator]
    wanted = [_value(value, item) for value in values[1:]]
    return bool(_COMPARISONS[operator](there, *wanted))


def _ordered(compare: Any) -> Any:
    """DynamoDB compares values of one type; anything else is false."""

    def comparison(there: Any, wanted: Any) -> bool:
        # truth is a type of its own to DynamoDB, and no number
        numbers = all(type(value) in {int, float} for value in (there, wanted))
        return (numbers or type(there) is type(wanted)) and bool(compare(there, wanted))

    return comparison


_JOINS: dict[str, Any] = {"AND": all, "OR": any}
_PRESENCE = {"attribute_exists": True, "attribute_not_exists": False}
_TYPES = {list: "L", dict: "M", str: "S", int: "N", float: "N", bool: "BOOL"}
_COMPARISONS: dict[str, Any] = {
    "=": _ordered(eq),
    "<>": lambda there, wanted: not _ordered(eq)(there, wanted),
    "<": _ordered(lt),
    "<=": _ordered(le),
    ">": _ordered(gt),
    ">=": _ordered(ge),
    "BETWEEN": lambda there, low, high: _ordered(ge)(there, low) and _ordered(le)(there, high),
    "attribute_type": lambda there, kind: _TYPES.get(type(there)) == kind,
    "begins_with": lambda there, start: isinstance(there, str) and there.startswith(start),
    "contains": lambda there, part: isinstance(there, str | list) and part in there,
}


def _value(operand: Any, item: Item) -> Any:
    if isinstance(operand, Size):
        there = item[operand.get_expression()["values"][0].name]
        return len(there) if isinstance(there, str | list | dict) else None
    return item.get(operand.name) if isinstance(operand, AttributeBase) else _stored(operand)


def _after(change: Change, items: dict[tuple[str, str], Item]) -> Item | None:
    """The item after a change, by DynamoDB's rules; None when it is deleted."""
    key = (change.pk, change.sk)
    if change.delete:
        return None
    if "pk" in change.put:
        assert (change.put["pk"], change.put["sk"]) == key, "the item's keys are not the change's"
        rest = [change.once, change.add, change.append, change.remove]
        assert not any(rest), "a Put puts only"
        new = {name: value for name, value in change.put.items() if value is not None}
        return _checked({name: _stored(value) for name, value in new.items()})
    touched = [*change.put, *change.once, *change.add, *change.append, *change.remove]
    assert touched, "an update expression may not be empty"
    assert len(set(touched)) == len(touched), f"paths overlap: {touched}"
    assert not KEYS & set(touched), "a key cannot be updated"
    before = items.get(key, {"pk": change.pk, "sk": change.sk})
    after = before | {name: _stored(value) for name, value in change.put.items()}
    once = {name: value for name, value in change.once.items() if name not in before}
    after |= {name: _stored(value) for name, value in once.items()}
    if not all(isinstance(before.get(name, []), list) for name in change.append):
        raise Refused(call="dynamodb", code="ValidationException")
    for name, more in change.append.items():
        after[name] = [*before.get(name, []), *_stored(more)]
    if not all(type(before.get(name, 0)) in {int, float} for name in change.add):
        raise Refused(call="dynamodb", code="ValidationException")
    for name, by in change.add.items():
        after[name] = _stored(before.get(name, 0) + by)
    for name in change.remove:
        after.pop(name, None)
    return _checked(after)


def _checked(stored: Item) -> Item:
    """The stored item; what DynamoDB would refuse is refused."""
    for name in {"pk", "sk", *(name for keys in INDEXES.values() for name in keys)} & set(stored):
        assert isinstance(stored[name], str), f"{name} is a key and must be text"
        assert stored[name], f"{name} is a key and must not be empty"
    if len(repr(stored)) > ITEM_LIMIT:
        raise Refused(call="dynamodb", code="ValidationException")
    return stored


def _copy(value: Any) -> Any:
    """A copy of what an item holds, which is plain; many times as fast as `deepcopy`."""
    return marshal.loads(marshal.dumps(value))


def _stored(value: Any) -> Any:
    """The value as the table writes and reads it; the plain ones without the detour."""
    if type(value) in {str, bool} or (type(value) is int and abs(value) < 2**63):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _stored(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_stored(inner) for inner in value]
    return of_dynamodb(to_dynamodb({"value": value}))["value"]
