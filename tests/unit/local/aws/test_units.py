"""What one call of the engine is called, and how many request units it takes."""

import json
from typing import Any

import pytest

from local.aws.units import action_of, read_units, write_units

SIGNED = "AWS4-HMAC-SHA256 Credential=AKIA/20261121/us-east-1/{}/aws4_request, SignedHeaders=host"
CONSISTENT = b'{"TableName": "t", "ConsistentRead": true}'
STALE = b'{"TableName": "t"}'


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "name"),
    [
        pytest.param(
            "POST", "/", {"x-amz-target": "DynamoDB_20120810.GetItem"}, b"{}",
            "dynamodb.GetItem", id="JSON",
        ),
        pytest.param(
            "POST", "/", {}, b"Action=CreateFleet&Version=2016-11-15", "ec2.CreateFleet", id="query"
        ),
        pytest.param(
            "POST", "/", {}, b"Version=2016-11-15&Action=CreateFleet", "ec2.CreateFleet",
            id="query in another order",
        ),
        pytest.param(
            "POST", "/schedules/one", {}, b"{}", "scheduler.CreateSchedule", id="REST"
        ),
        pytest.param("GET", "/bucket/key", {}, b"", "s3.GET /bucket/key", id="REST without a name"),
    ],
)  # fmt: skip
def test_a_call_has_the_name_that_aws_gives_it(
    method: str, path: str, headers: dict[str, str], body: bytes, name: str
) -> None:
    signed = {"authorization": SIGNED.format(name.partition(".")[0]), **headers}
    assert action_of(method, path, signed, body) == name


def test_a_call_without_a_signature_is_named_so() -> None:
    assert action_of("GET", "/x", {}, b"") == "unsigned.GET /x"


@pytest.mark.parametrize(
    ("action", "body", "size", "units"),
    [
        pytest.param("GetItem", CONSISTENT, 10, 1, id="small and fresh"),
        pytest.param("GetItem", STALE, 10, 0.5, id="small and stale"),
        pytest.param("Query", CONSISTENT, 9000, 3, id="four kilobytes a unit"),
        pytest.param("Query", STALE, 9000, 1.5, id="half of it when stale"),
        pytest.param("UpdateItem", STALE, 9000, 0, id="a write reads nothing"),
    ],
)
def test_reads(action: str, body: bytes, size: int, units: float) -> None:
    assert read_units(action, body, b" " * size) == units


def test_a_batch_pays_for_each_item_there_or_not() -> None:
    keys = [{"pk": {"S": name}, "sk": {"S": "job"}} for name in "abc"]
    request = json.dumps({"RequestItems": {"t": {"Keys": keys, "ConsistentRead": True}}}).encode()
    items = [{"pk": {"S": "a"}}, {"pk": {"S": "b" * 5000}}]
    answer = json.dumps({"Responses": {"t": items}}).encode()
    assert read_units("BatchGetItem", request, answer) == 1 + 2 + 1


@pytest.mark.parametrize(
    ("action", "consumed", "units"),
    [
        pytest.param("UpdateItem", {"CapacityUnits": 3.0}, 3, id="with its indexes"),
        pytest.param("TransactWriteItems", [{"CapacityUnits": 4.0}], 4, id="by table"),
        pytest.param("GetItem", {"CapacityUnits": 1.0}, 0, id="a read writes nothing"),
    ],
)
def test_writes_cost_what_the_engine_says(action: str, consumed: Any, units: float) -> None:
    answer = json.dumps({"ConsumedCapacity": consumed}).encode()
    assert write_units(action, STALE, answer, ok=True) == units


def test_a_refused_write_costs_a_unit_and_a_refused_transaction_two_for_each_item() -> None:
    three = json.dumps({"TransactItems": [{"Put": {"TableName": "t"}}] * 3}).encode()
    assert write_units("PutItem", STALE, b"", ok=False) == 1
    assert write_units("TransactWriteItems", three, b"", ok=False) == 6
