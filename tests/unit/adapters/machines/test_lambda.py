"""Runners in Lambda functions: one event each, which says who to be and until when it counts."""

import json
from dataclasses import replace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from adapters.machines.backend import Launched, LaunchOrder, LaunchResult, ServedProject
from adapters.machines.lambda_ import LambdaBackend
from fleet.aws_errors import ErrorKind
from fleet.config.model import PoolConfig
from tests.fakes import AT
from tests.unit.adapters.stubs import scripted
from tests.unit.fleet.configs import pool_of

ORDER = LaunchOrder(
    launch_id="l1", runner_ids=("rf-small-1",), call_home_by=AT, expires_at=AT, try_in=()
)


def pool(**keys: Any) -> PoolConfig:
    return pool_of("lambda", size="2GB", **keys)


def launch(
    order: LaunchOrder = ORDER, *, of: PoolConfig | None = None, **expected: Any
) -> LaunchResult:
    """What becomes of an order for one runner, for whose event Lambda is asked so."""
    event = {"runner_id": "rf-small-1", "mailbox": "lambda:rf-small-1:77", "until": AT.isoformat()}
    usual = {
        "FunctionName": "demo-runner-2gb",
        "InvocationType": "Event",
        "Payload": json.dumps(event | expected.pop("event", {})).encode(),
    }
    with scripted("lambda") as (client, script):
        script.add_response("invoke", {"StatusCode": 202}, usual | expected)
        isolates = "TenantId" in expected
        backend = LambdaBackend(client, "demo-runner-", isolates=isolates, new_secret=lambda: "77")
        return backend.launch(of or pool(), order)


def test_an_event_says_who_to_be_and_until_when() -> None:
    result = launch()
    assert result.launched == (
        Launched(
            runner_id="rf-small-1",
            machine_id="demo-runner-2gb/rf-small-1",
            mailbox="lambda:rf-small-1:77",
            capacity=None,
        ),
    )
    assert result.shortfalls == ()


def test_a_protected_pool_has_functions_of_its_own() -> None:
    protected = pool(protected_only=True)
    (machine,) = launch(of=protected, FunctionName="demo-runner-protected-2gb").launched
    assert machine.machine_id == "demo-runner-protected-2gb/rf-small-1"


@pytest.mark.parametrize(
    ("served", "event", "tenant"),
    [
        pytest.param(
            ServedProject(id=7, path="acme/demo"), {"project": "acme/demo"}, "7", id="a project"
        ),
        pytest.param(ServedProject(id=7, path=""), {}, "7", id="one whose path is not known"),
        pytest.param(None, {}, "rf-small-1", id="for no job yet: of its own"),
    ],
)
def test_a_sandbox_serves_one_tenant(
    served: ServedProject | None, event: dict[str, str], tenant: str
) -> None:
    order = replace(ORDER, served={"rf-small-1": served} if served else {})
    assert launch(order, event=event, TenantId=tenant).launched


def test_a_mailbox_is_not_known_by_its_runner_and_never_the_same() -> None:
    with scripted("lambda") as (client, script):
        backend = LambdaBackend(client, "demo-runner-")
        boxes = []
        for _ in range(2):
            script.add_response("invoke", {"StatusCode": 202})
            (machine,) = backend.launch(pool(), ORDER).launched
            assert backend.mailboxes(machine.machine_id) == ()
            boxes.append(machine.mailbox.removeprefix(f"lambda:{machine.runner_id}:"))
    assert boxes[0] != boxes[1]
    assert {len(box) for box in boxes} == {32}, "128 bits as hexadecimal digits"


def test_lambda_shows_no_machines_and_has_no_places() -> None:
    with scripted("lambda") as (client, _):
        backend = LambdaBackend(client, "demo-runner-")
        shown = (backend.name, backend.machines(), backend.capacity_pools(pool()))
        assert shown == ("lambda", None, ())


class Functions:
    """Lambda takes the events of all runners but these."""

    def __init__(self, **refused: str) -> None:
        self.refused = refused
        self.invoked: list[str] = []

    def invoke(self, **request: Any) -> dict[str, int]:
        runner_id = str(json.loads(request["Payload"])["runner_id"])
        self.invoked.append(runner_id)
        code = self.refused.get(runner_id.rpartition("-")[2])
        if code:
            answer = {"Error": {"Code": code, "Message": f"no {runner_id}"}}
            raise ClientError(cast("Any", answer), "Invoke")
        return {"StatusCode": 202}


def test_each_event_that_is_not_taken_is_one_machine_less_and_no_more() -> None:
    functions = Functions(
        b="TooManyRequestsException", d="ResourceNotFoundException", e="ServiceException"
    )
    names = tuple(f"rf-small-{letter}" for letter in "abcdef")
    backend = LambdaBackend(cast("Any", functions), "demo-runner-")
    result = backend.launch(pool(), replace(ORDER, runner_ids=names))
    assert sorted(functions.invoked) == sorted(names), "each once"
    assert [launched.runner_id[-1] for launched in result.launched] == ["a", "c", "f"]
    assert [(shortfall.code, shortfall.kind) for shortfall in result.shortfalls] == [
        ("TooManyRequestsException", ErrorKind.THROTTLE),
        ("ResourceNotFoundException", ErrorKind.CONFIGURATION),
        ("ServiceException", ErrorKind.THROTTLE),
    ]
    assert ["no rf-small-b" in shortfall.message for shortfall in result.shortfalls] == [
        True,
        False,
        False,
    ]
