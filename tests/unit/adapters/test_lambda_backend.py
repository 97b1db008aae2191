"""Runners in Lambda functions: one event each, which says who to be and until when it counts."""

import json

from adapters.backends import Launched, LaunchOrder
from adapters.lambda_backend import LambdaBackend
from fleet.capacity import ErrorKind
from fleet.config import PoolConfig, read_config
from tests.fakes import AT
from tests.unit.adapters.stubs import scripted

SIZED = """
[gitlab]
url = "https://gitlab.example.com"
runners_in = "group:42"

[pools.small]
backend = "lambda"
tags = ["small"]
size = "2GB"
ceiling = 3
"""
ORDER = LaunchOrder(
    launch_id="l1", runner_ids=("rf-small-1",), call_home_by=AT, expires_at=AT, try_in=()
)


def pool() -> PoolConfig:
    return read_config(SIZED).pools[0]


def test_an_event_says_who_to_be_and_until_when() -> None:
    event = {"runner_id": "rf-small-1", "mailbox": "lambda:rf-small-1", "until": AT.isoformat()}
    asked = {
        "FunctionName": "demo-runner-2gb",
        "InvocationType": "Event",
        "Payload": json.dumps(event).encode(),
    }
    with scripted("lambda") as (client, script):
        script.add_response("invoke", {"StatusCode": 202}, asked)
        result = LambdaBackend(client, "demo-runner-").launch(pool(), ORDER)
    assert result.launched == (
        Launched(
            runner_id="rf-small-1",
            machine_id="demo-runner-2gb/rf-small-1",
            mailbox="lambda:rf-small-1",
            capacity=None,
        ),
    )
    assert result.shortfalls == ()


def test_a_function_that_takes_no_more_events_is_a_shortfall() -> None:
    with scripted("lambda") as (client, script):
        script.add_client_error("invoke", "TooManyRequestsException", "Rate exceeded", 429)
        result = LambdaBackend(client, "demo-runner-").launch(pool(), ORDER)
    assert result.launched == ()
    (short,) = result.shortfalls
    assert short.code == "TooManyRequestsException"
    assert short.kind is not ErrorKind.CONFIGURATION
