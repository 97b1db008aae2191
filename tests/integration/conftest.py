"""One engine for the whole session, and two stacks on it: the fleet's own and one of stand-ins."""

import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from local.aws.engine import ACCOUNT, CONFIG, Engine, EngineOptions, wait_until
from local.aws.stack import Stack, StackOptions, deploy_stack
from local.machines.imds import ImdsServer

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


@pytest.fixture
def imds_server() -> Iterator[ImdsServer]:
    with ImdsServer() as running:
        yield running


def make_function(engine: Engine, name: str, source: str, **settings: Any) -> None:
    """A Python function on the engine, whose module is named as the function is."""
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr(f"{name}.py", source)
    trust = json.dumps({"Statement": []})
    engine.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=trust)
    engine.client("lambda").create_function(
        FunctionName=name,
        Runtime="python3.13",
        Handler=f"{name}.handler",
        Role=f"arn:aws:iam::{ACCOUNT}:role/{name}",
        Code={"ZipFile": archive.getvalue()},
        **settings,
    )


def execution_end(engine: Engine, execution: str) -> dict[str, Any]:
    """How an execution of a state machine ended, as soon as it has."""
    machines = engine.client("stepfunctions")

    def is_over() -> bool:
        return bool(machines.describe_execution(executionArn=execution)["status"] != "RUNNING")

    wait_until(is_over, timeout_s=30, what=f"{execution} to end", log=engine.log)
    return dict(machines.describe_execution(executionArn=execution))


class Role:
    """The session of one role."""

    def __init__(self, engine: Engine, arn: str, session_name: str) -> None:
        self.name = arn.rpartition("/")[2]
        self._engine = engine
        self._keys = engine.role_environment(arn, session_name)
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        """A client with the role's own credentials, made once per service."""
        if service not in self._clients:
            self._clients[service] = self._engine.session().client(
                service,  # type: ignore[call-overload]
                endpoint_url=self._engine.url,
                aws_access_key_id=self._keys["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=self._keys["AWS_SECRET_ACCESS_KEY"],
                aws_session_token=self._keys["AWS_SESSION_TOKEN"],
                config=CONFIG,
            )
        return self._clients[service]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standins:
    """The fleet's template with functions that only note what they were called with."""

    engine: Engine
    stack: Stack
    _roles: dict[str, Role] = field(default_factory=dict)

    def post(self, kind: str, **detail: object) -> int:
        """Post a job event to the webhook's address; the answer's status."""
        body = json.dumps({"type": kind, "detail": {"project_id": 7, **detail}}).encode()
        headers = {"Content-Type": "application/json"}
        request = Request(self.stack.webhook_url, data=body, headers=headers, method="POST")
        with urlopen(request, timeout=30) as response:
            return int(response.status)

    def calls(self, function: str, job: object) -> list[dict[str, Any]]:
        """The events with which `function` was called for `job`, in order."""
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

    def role(self, logical_id: str) -> Role:
        """The session of one of the template's roles."""
        if logical_id not in self._roles:
            resource = self.engine.client("cloudformation").describe_stack_resource(
                StackName=self.stack.name, LogicalResourceId=logical_id
            )["StackResourceDetail"]
            name = resource["PhysicalResourceId"]
            arn = self.engine.client("iam").get_role(RoleName=name)["Role"]["Arn"]
            self._roles[logical_id] = Role(self.engine, arn, "test")
        return self._roles[logical_id]


@pytest.fixture(scope="session")
def standins(engine: Engine) -> Standins:
    options = StackOptions(name="standin", sources=STANDINS, at_once=4)
    return Standins(engine=engine, stack=deploy_stack(engine, options))
