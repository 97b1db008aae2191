"""One engine for the whole session, and two stacks on it: the fleet's own and one of stand-ins."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest

from local.aws.engine import CONFIG, Engine, EngineOptions, wait_until
from local.aws.stack import Stack, StackOptions, deploy_stack

STANDINS = Path(__file__).parent / "standins"

# The developer's own AWS settings must not reach a test.
for name in [name for name in os.environ if name.startswith(("AWS_", "FLEET_"))]:
    del os.environ[name]


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The embedded AWS, empty at first."""
    with Engine(tmp_path_factory.mktemp("engine"), EngineOptions()) as running:
        yield running


@pytest.fixture(scope="session")
def stack(engine: Engine) -> Stack:
    """The fleet as it is deployed, with its own functions; its secrets have no value yet."""
    return deploy_stack(engine)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standins:
    """The fleet's template with functions that only note what they were called with."""

    engine: Engine
    stack: Stack

    def post(self, kind: str, **detail: object) -> int:
        """Post a job event to the webhook's address; gives back the status."""
        body = json.dumps({"type": kind, "detail": {"project_id": 7, **detail}}).encode()
        headers = {"Content-Type": "application/json"}
        request = Request(self.stack.webhook_url, data=body, headers=headers, method="POST")
        with urlopen(request, timeout=30) as response:
            return int(response.status)

    def calls(self, function: str, job: object) -> list[dict[str, Any]]:
        """What `function` was called with for `job`, in order."""
        answer = self.engine.client("dynamodb").query(
            TableName=self.stack.ledger_table,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"calls#{function}#{job}"}},
            ConsistentRead=True,
        )
        return [json.loads(item["event"]["S"]) for item in answer["Items"]]

    def wait_for(self, function: str, job: object, times: int = 1) -> list[dict[str, Any]]:
        """The same, as soon as there are `times`."""
        wait_until(
            lambda: len(self.calls(function, job)) >= times,
            timeout_s=20,
            what=f"{times} calls of {function} for {job}",
            log=self.engine.log,
        )
        return self.calls(function, job)

    def role(self, logical_id: str, session_name: str = "test") -> "Role":
        """The session of one of the template's roles."""
        resource = self.engine.client("cloudformation").describe_stack_resource(
            StackName=self.stack.name, LogicalResourceId=logical_id
        )["StackResourceDetail"]
        found = self.engine.client("iam").get_role(RoleName=resource["PhysicalResourceId"])
        return Role(self.engine, found["Role"]["Arn"], session_name)


class Role:
    """What one role may do, asked by doing it."""

    def __init__(self, engine: Engine, arn: str, session_name: str) -> None:
        keys = engine.role_environment(arn, session_name)
        self.name = arn.rpartition("/")[2]
        self._url = engine.url
        self._session = boto3.Session(
            aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=keys["AWS_SESSION_TOKEN"],
            region_name=keys["AWS_REGION"],
        )

    def client(self, service: str) -> Any:
        """A client with the role's own credentials."""
        return self._session.client(
            service,  # type: ignore[call-overload]
            endpoint_url=self._url,
            config=CONFIG,
        )


@pytest.fixture(scope="session")
def standins(engine: Engine) -> Standins:
    """The stand-ins' stack."""
    options = StackOptions(name="standin", sources=STANDINS, at_once=4)
    return Standins(engine=engine, stack=deploy_stack(engine, options))
