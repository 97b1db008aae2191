"""The ledger's table: reads and writes of items in DynamoDB, whatever they mean."""

import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from boto3.dynamodb.conditions import Attr, ConditionBase, ConditionExpressionBuilder, Key
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from adapters.aws.clients import aws_call
from fleet.errors import Refused, Transient
from fleet.events import WARNING, RowsUnreadable, emit
from fleet.times import in_utc

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Item = dict[str, Any]
RowT = TypeVar("RowT")
# The errors of reading an item that has not the form of its kind of row.
WRONG = (LookupError, AttributeError, TypeError, ValueError, OverflowError, Refused)
_serialize, _deserialize = TypeSerializer().serialize, TypeDeserializer().deserialize
# DynamoDB's own limits, per call.
BATCH_GET = 100
TRANSACT = 100
# Pauses before each new try of a write that conflicts with another one on the same item.
CONFLICT_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8)
CANCELLED = "TransactionCanceledException"
CONFLICT = "TransactionConflictException"
CONDITION_EXCEPTION = "ConditionalCheckFailedException"
INVALID = "ValidationException"  # such as a step for a history that is full, or is no list
INVALID_CHANGE = "ValidationError"  # the same, as the reason of a cancelled transaction
CONDITION_FAILED = "ConditionalCheckFailed"
# Reasons of a cancelled transaction that pass by themselves: no error codes of a call, which
# `fleet.aws_errors` has. Source: TransactWriteItems, errors.
PASSING = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One conditional write: what to set, add, append or remove, and what must hold before."""

    pk: str
    sk: str
    table: str = ""  # of the item, where it is another one than the ledger
    put: Mapping[str, Any] = field(default_factory=dict)
    once: Mapping[str, Any] = field(default_factory=dict)  # only where there is none yet
    add: Mapping[str, int] = field(default_factory=dict)
    append: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    remove: tuple[str, ...] = ()
    when: ConditionBase | None = None
    delete: bool = False  # remove the whole item instead


def is_invalid(error: Refused) -> bool:
    """Whether DynamoDB refused a change because of what stands in the row."""
    codes = error.facts.get("codes")
    each = codes if isinstance(codes, list) else []
    return bool({INVALID, INVALID_CHANGE} & {error.facts.get("code"), *each})


def exists() -> ConditionBase:
    """The item exists."""
    return Attr("pk").exists()


def absent() -> ConditionBase:
    """The item does not exist."""
    return Attr("pk").not_exists()


def _warn(event: RowsUnreadable) -> None:
    emit(event, level=WARNING)


class Table:
    """One DynamoDB table with the keys `pk` and `sk`; every read is strongly consistent."""

    def __init__(
        self,
        client: "DynamoDBClient",
        name: str,
        *,
        pause: Callable[[float], None] = time.sleep,
        warn: Callable[[RowsUnreadable], None] = _warn,
    ) -> None:
        """`warn` hears of rows that a listing left out."""
        self._client = client
        self.name = name
        self.warn = warn
        self.unreadable: set[str] = set()  # rows that a listing left out, by their keys
        self._pause = pause

    def get(self, pk: str, sk: str) -> Item | None:
        """The item, or None."""
        with aws_call("dynamodb.GetItem"):
            answer = self._client.get_item(
                TableName=self.name, Key=_key(pk, sk), ConsistentRead=True
            )
        return of_dynamodb(answer["Item"]) if "Item" in answer else None

    def get_many(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Item]:
        """The items that exist, by key; any number of keys."""
        return {(item["pk"], item["sk"]): item for item in self.each(keys)}

    def each(self, keys: Iterable[tuple[str, str]]) -> Iterator[Item]:
        """The items that exist, in any order. At most 16 MB of them are in memory at once."""
        unread = list(dict.fromkeys(keys))
        in_vain = 0  # calls in a row that read nothing
        while unread:
            batch, unread = unread[:BATCH_GET], unread[BATCH_GET:]
            request = {self.name: {"Keys": [_key(*k) for k in batch], "ConsistentRead": True}}
            with aws_call("dynamodb.BatchGetItem"):
                answer = self._client.batch_get_item(RequestItems=request)  # type: ignore[arg-type]
            yield from (of_dynamodb(raw) for raw in answer["Responses"].get(self.name, []))
            skipped = answer.get("UnprocessedKeys", {}).get(self.name)
            left = [of_dynamodb(raw) for raw in skipped["Keys"]] if skipped else []
            unread += [(key["pk"], key["sk"]) for key in left]
            if left:
                in_vain = in_vain + 1 if len(left) == len(batch) else 0
                self._wait_to_read(in_vain)

    def _wait_to_read(self, in_vain: int) -> None:
        """DynamoDB skips keys under load: a longer pause after each empty answer."""
        if in_vain > len(CONFLICT_PAUSES_S):
            raise Transient(call="dynamodb.BatchGetItem", code="UnprocessedKeys")
        self._pause(CONFLICT_PAUSES_S[max(0, in_vain - 1)])

    def query(self, pk: str, prefix: str = "") -> Iterator[Item]:
        """The items of one partition whose sort key has this prefix, ordered by it."""
        condition: ConditionBase = Key("pk").eq(pk)
        if prefix:
            condition &= Key("sk").begins_with(prefix)
        yield from self._pages(condition, ConsistentRead=True)

    def query_index(
        self, index: str, key: str, value: str, *, newest_first: bool = False, limit: int = 0
    ) -> Iterator[Item]:
        """The items of one partition of an index; at most `limit` when given.

        An index lags behind the table by some milliseconds on AWS.
        """
        options: dict[str, Any] = {"IndexName": index, "ScanIndexForward": not newest_first}
        if limit:
            options["Limit"] = limit
        for count, item in enumerate(self._pages(Key(key).eq(value), **options), start=1):
            yield item
            if limit and count >= limit:
                return

    def write(self, change: Change) -> bool:
        """Carry out one change; False when its condition did not hold."""
        return self._write(change.table, _request(change)) is not None

    def update(self, change: Change) -> Item | None:
        """Carry out one change of attributes: those that it wrote, as they are now.

        None when its condition did not hold.
        """
        ((kind, body),) = _request(change).items()
        raw = self._write(change.table, {kind: {**body, "ReturnValues": "UPDATED_NEW"}})
        return None if raw is None else of_dynamodb(raw)

    def _write(self, table: str, request: dict[str, dict[str, Any]]) -> Mapping[str, Any] | None:
        kind = next(iter(request))
        call = {
            "Put": self._client.put_item,
            "Update": self._client.update_item,
            "Delete": self._client.delete_item,
        }
        for pause_s in CONFLICT_PAUSES_S:
            try:
                with aws_call(f"dynamodb.{kind}Item", passing=(CONDITION_EXCEPTION, CONFLICT)):
                    answer = call[kind](TableName=table or self.name, **request[kind])  # type: ignore[operator]
            except ClientError as exc:
                if exc.response["Error"]["Code"] == CONDITION_EXCEPTION:
                    return None
                self._pause(random.uniform(pause_s / 2, pause_s))  # noqa: S311  no secret
            else:
                attributes: Mapping[str, Any] = answer.get("Attributes", {})
                return attributes
        raise Transient(call=f"dynamodb.{kind}Item", code=CONFLICT)

    def transact(self, changes: Sequence[Change]) -> bool:
        """Carry out all changes or none; False when a condition did not hold.

        DynamoDB cancels transactions that conflict on one item, and the caller tries again: every
        launch and every close of a pool writes the pool's row.
        """
        items = []
        for change in changes:
            ((kind, body),) = _request(change).items()
            items.append({kind: {"TableName": change.table or self.name, **body}})
        for pause_s in CONFLICT_PAUSES_S:
            codes = self._transact(items)
            if codes is None:
                return True
            if CONDITION_FAILED in codes:
                return False
            if not codes & PASSING:
                raise Refused(call="dynamodb.TransactWriteItems", codes=sorted(codes))
            self._pause(random.uniform(pause_s / 2, pause_s))  # noqa: S311  no secret
        raise Transient(call="dynamodb.TransactWriteItems", code=CONFLICT)

    def transact_valid(self, changes: Sequence[Change]) -> bool | None:
        """`transact`; None where it is refused because of what stands in a row."""
        try:
            return self.transact(changes)
        except Refused as exc:
            if not is_invalid(exc):
                raise
            return None

    def _transact(self, items: Sequence[Item]) -> set[str] | None:
        """None when the changes are carried out, else the codes of the changes that are not."""
        try:
            with aws_call("dynamodb.TransactWriteItems", passing=(CANCELLED, CONFLICT)):
                self._client.transact_write_items(TransactItems=items)  # type: ignore[arg-type]
        except ClientError as exc:
            if exc.response["Error"]["Code"] == CONFLICT:
                return {"TransactionConflict"}
            reasons = exc.response.get("CancellationReasons", [])
            codes = {reason.get("Code", "") for reason in reasons} - {"None", ""}
            return codes or set(re.findall(r"[A-Z]\w+", str(exc))) & {CONDITION_FAILED, *PASSING}
        return None

    def _pages(self, condition: ConditionBase, **options: Any) -> Iterator[Item]:
        built = ConditionExpressionBuilder().build_expression(condition, is_key_condition=True)
        request = {
            "TableName": self.name,
            "KeyConditionExpression": built.condition_expression,
            "ExpressionAttributeNames": built.attribute_name_placeholders,
            "ExpressionAttributeValues": to_dynamodb(built.attribute_value_placeholders),
            **options,
        }
        while True:
            with aws_call("dynamodb.Query"):
                answer = self._client.query(**request)
            yield from (of_dynamodb(raw) for raw in answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def present(facts: Mapping[str, object]) -> Item:
    """The facts without those that are None: no attribute says so."""
    return {name: value for name, value in facts.items() if value is not None}


def _key(pk: str, sk: str) -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def to_dynamodb(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values in DynamoDB's form. Times become text, in UTC: indexes and conditions order them."""
    return {name: _serialize(_storable(value)) for name, value in values.items()}


def _storable(value: Any) -> Any:
    """DynamoDB takes no floats and no times; tuples are lists to it."""
    if isinstance(value, str):
        return str(value)  # an enum's text
    if isinstance(value, float):
        return Decimal(str(value))
    if isinstance(value, date):
        return (in_utc(value) if isinstance(value, datetime) else value).isoformat()
    if isinstance(value, Mapping):
        return {key: _storable(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, (list, tuple)):
        return [_storable(inner) for inner in value]
    return value


def of_dynamodb(raw: Mapping[str, Any]) -> Item:
    """Values out of DynamoDB's form."""
    return {name: _number(_deserialize(value)) for name, value in raw.items()}


def _number(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {key: _number(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_number(inner) for inner in value]
    return value


def _request(change: Change) -> dict[str, dict[str, Any]]:
    """The change as DynamoDB's Put, Update or Delete."""
    body: dict[str, Any] = {}
    if change.when is not None:
        built = ConditionExpressionBuilder().build_expression(change.when)
        body["ConditionExpression"] = built.condition_expression
        body["ExpressionAttributeNames"] = dict(built.attribute_name_placeholders)
        body["ExpressionAttributeValues"] = to_dynamodb(built.attribute_value_placeholders)
    if change.delete:
        return {"Delete": _trim({"Key": _key(change.pk, change.sk), **body})}
    if "pk" in change.put:
        item = {name: value for name, value in change.put.items() if value is not None}
        return {"Put": _trim({"Item": to_dynamodb(item), **body})}
    expression, names, values = _expression(change)
    body["Key"] = _key(change.pk, change.sk)
    body["UpdateExpression"] = expression
    body["ExpressionAttributeNames"] = names | body.get("ExpressionAttributeNames", {})
    body["ExpressionAttributeValues"] = values | body.get("ExpressionAttributeValues", {})
    return {"Update": _trim(body)}


def _expression(change: Change) -> tuple[str, dict[str, str], dict[str, Any]]:
    """The update expression with its names and values."""
    names: dict[str, str] = {}
    values: dict[str, Any] = {}
    sets, adds = [], []

    def slot(name: str, value: Any) -> tuple[str, str]:
        token = f"f{len(names)}"
        names[f"#{token}"] = name
        values[f":{token}"] = _serialize(_storable(value))
        return f"#{token}", f":{token}"

    for name, value in change.put.items():
        name_token, value_token = slot(name, value)
        sets.append(f"{name_token} = {value_token}")
    for name, value in change.once.items():
        name_token, value_token = slot(name, value)
        sets.append(f"{name_token} = if_not_exists({name_token}, {value_token})")
    for name, more in change.append.items():
        name_token, value_token = slot(name, list(more))
        values[":none"] = {"L": []}
        sets.append(
            f"{name_token} = list_append(if_not_exists({name_token}, :none), {value_token})"
        )
    for name, by in change.add.items():
        name_token, value_token = slot(name, by)
        adds.append(f"{name_token} {value_token}")
    removes: list[str] = []
    for name in change.remove:
        token = f"#r{len(removes)}"
        names[token] = name
        removes.append(token)
    clauses = [("SET", sets), ("ADD", adds), ("REMOVE", removes)]
    return " ".join(f"{word} {', '.join(parts)}" for word, parts in clauses if parts), names, values


def _trim(body: dict[str, Any]) -> dict[str, Any]:
    """DynamoDB refuses empty maps of names and values."""
    return {name: value for name, value in body.items() if value != {}}


class Rows:
    """Rows of one subject in one table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def _readable(self, read: Callable[[Item], RowT], items: Iterable[Item]) -> list[RowT]:
        """What is read of the items. One that does not read is left out, counted and logged."""
        rows: list[RowT] = []
        left_out: list[str] = []
        error = ""
        for item in items:
            try:
                rows.append(read(item))
            except WRONG as exc:
                left_out.append(_name(item))
                error = str(exc.facts.get("wrong", "")) if isinstance(exc, Refused) else ""
                error = error or type(exc).__name__
        if left_out:
            self._leave_out(left_out, error)
        return rows

    def _readable_one(self, read: Callable[[Item], RowT], item: Item | None) -> RowT | None:
        """What is read of one item; None where there is none, or where it does not read."""
        return next(iter(self._readable(read, [item] if item else [])), None)

    def _leave_out(self, rows: Sequence[str], error: str) -> None:
        """Count rows that are not as their kind is, and report them."""
        self._table.unreadable.update(rows)
        event = RowsUnreadable(
            table=self._table.name, rows=len(rows), example=rows[-1], error=error
        )
        self._table.warn(event)


def time_of(item: Item | None, name: str) -> datetime | None:
    """The time in an attribute; None where there is none."""
    try:
        return in_utc(datetime.fromisoformat((item or {})[name]))
    except (LookupError, TypeError, ValueError):
        return None


def _name(item: Item) -> str:
    """The keys of a row. The ids in them are the fleet's own or AWS's."""
    return f"{item.get('pk')} {item.get('sk')}"
