"""What a deployment tells CloudFormation of parameters that nobody gave this time."""

from typing import Any

from cli.deploying import Order, deploy
from tests.unit.cli.cloudformation import FakeAws


def keys(told: list[dict[str, Any]]) -> dict[str, Any]:
    return {one["ParameterKey"]: one.get("ParameterValue", True) for one in told}


def test_an_update_keeps_what_the_template_still_takes() -> None:
    aws = FakeAws({"CacheDays": "3", "LogDays": "7", "OfAnOlderTemplate": "1"})
    deploy(aws.clients(), Order(stack="demo", bucket="b", parameters={"LogDays": "30"}), b"zip")
    told = keys(aws.updated)
    assert told["LogDays"] == "30"
    assert told["CacheDays"] is True  # as it was
    assert "OfAnOlderTemplate" not in told
