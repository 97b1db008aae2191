"""One call of the engine: its name in AWS's words, and DynamoDB's request units of it. Pure.

Source of the units: DynamoDB developer guide, "DynamoDB on-demand capacity mode".
"""

import json
from collections.abc import Mapping
from math import ceil
from typing import Any

PATH = "/_fleet/calls"  # the engine answers its counts there; DELETE resets them
_READ_BYTES = 4096
_READS = frozenset({"GetItem", "Query", "Scan", "BatchGetItem"})
_WRITES = frozenset({"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"})

_REST = {
    ("scheduler", "POST"): "CreateSchedule",
    ("scheduler", "DELETE"): "DeleteSchedule",
    ("scheduler", "GET"): "GetSchedule",
    ("lambda", "POST"): "Invoke",
}


def action_of(method: str, path: str, headers: Mapping[str, str], body: bytes) -> str:
    """The call in the words of AWS, such as `ec2.CreateFleet`."""
    service = headers.get("authorization", "").partition("Credential=")[2].split("/")
    name = service[3] if len(service) > 3 else "unsigned"
    target = headers.get("x-amz-target", "").rpartition(".")[2]
    if target:
        return f"{name}.{target}"
    if body.startswith(b"Action=") or b"&Action=" in body:
        action = body.partition(b"Action=")[2].partition(b"&")[0]
        return f"{name}.{action.decode()}"
    return f"{name}.{_REST.get((name, method), f'{method} {path}')}"


def read_units(action: str, request: bytes, answer: bytes) -> float:
    """Of a read: a unit per four kilobytes, half of it for an eventually consistent read."""
    if action not in _READS:
        return 0.0
    share = 1.0 if b'"ConsistentRead": true' in request else 0.5
    if action != "BatchGetItem":
        return share * max(1, ceil(len(answer) / _READ_BYTES))
    tables: dict[str, list[Any]] = _json(answer).get("Responses", {})
    wanted = request.count(b'"pk": {')
    sizes = [len(json.dumps(item)) for items in tables.values() for item in items]
    missing = max(0, wanted - len(sizes))  # an item that is not there costs as much as a small one
    return share * (sum(max(1, ceil(size / _READ_BYTES)) for size in sizes) + missing)


def write_units(action: str, request: bytes, answer: bytes, *, ok: bool) -> float:
    """Of a write, those of its indexes included; one that is refused costs at least a unit."""
    if action not in _WRITES:
        return 0.0
    if not ok:
        return 2.0 * request.count(b'"TableName"') if action == "TransactWriteItems" else 1.0
    consumed = _json(answer).get("ConsumedCapacity", [])
    return sum(
        float(entry["CapacityUnits"])
        for entry in (consumed if isinstance(consumed, list) else [consumed])
    )


def _json(body: bytes) -> dict[str, Any]:
    value = json.loads(body or b"{}")
    return value if isinstance(value, dict) else {}
