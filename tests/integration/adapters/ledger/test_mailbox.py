"""A mailbox on the engine: taken once, steps added up, and only the machine's own."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from adapters.aws.cipher import KmsCipher
from adapters.ledger.mailbox import Mailbox
from fleet.machine.mailbox import MachineState, Order, Report
from fleet.steps import Outcome, Step, StepName
from local.aws.engine import Engine
from local.aws.stack import Stack
from tests.unit.fleet.facts import credential

AT = datetime(2026, 8, 20, 9, 15, tzinfo=UTC)
CREDENTIAL = credential(expires_at=AT + timedelta(hours=3))
IDLE = Report(heartbeat_at=AT, state=MachineState.IDLE, runner_id="rf-1")
numbers = count()


class Ledger:
    """The table as the fleet sees it."""

    def __init__(self, engine: Engine, stack: Stack) -> None:
        self.client: Any = engine.client("dynamodb")
        self.table = stack.mailbox_table
        self.cipher = KmsCipher(engine.client("kms"), stack.mailbox_key)
        self.machine = f"{stack.machine_role_id}:i-{next(numbers):017x}"
        self.mailbox = Mailbox(self.client, self.table, self.machine, self.cipher)

    def put(self, item: dict[str, Any]) -> None:
        write = TypeSerializer().serialize
        marshalled = {key: write(value) for key, value in item.items()}
        self.client.put_item(TableName=self.table, Item=marshalled)

    def get(self, kind: str) -> dict[str, Any] | None:
        key = {"pk": {"S": self.machine}, "sk": {"S": kind}}
        item = self.client.get_item(TableName=self.table, Key=key).get("Item")
        read = TypeDeserializer().deserialize
        return {name: read(value) for name, value in item.items()} if item else None

    def report(self) -> Report:
        item = self.get("report")
        assert item is not None
        return Report.of_item(item)


@pytest.fixture
def ledger(engine: Engine, stack: Stack) -> Ledger:
    return Ledger(engine, stack)


class Clock:
    """A clock that goes on only in `pause`."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def __call__(self) -> datetime:
        return AT + timedelta(seconds=sum(self.pauses))

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)


def test_one_of_many_machines_gets_the_credential(ledger: Ledger) -> None:
    ledger.put(CREDENTIAL.item(ledger.machine, ledger.cipher))
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: ledger.mailbox.try_take_credential(), range(8)))
    assert [credential for credential in taken if credential] == [CREDENTIAL]
    assert ledger.get("credential") is None


def test_a_machine_does_not_wait_for_ever(ledger: Ledger) -> None:
    clock = Clock()
    deadline = AT + timedelta(seconds=10)
    assert ledger.mailbox.take_credential(deadline, clock=clock, pause=clock.pause) is None
    assert clock() == deadline


def test_a_late_machine_looks_once(ledger: Ledger) -> None:
    ledger.put(CREDENTIAL.item(ledger.machine, ledger.cipher))
    clock = Clock()
    taken = ledger.mailbox.take_credential(AT, clock=clock, pause=clock.pause)
    assert taken == CREDENTIAL
    assert clock.pauses == []


def test_steps_add_up_and_the_rest_is_replaced(ledger: Ledger) -> None:
    called = Step(at=AT, name=StepName.CALLED_HOME)
    taken = Step(at=AT, name=StepName.JOB_TAKEN, job_id=42)
    ledger.mailbox.report(Report(heartbeat_at=AT, state=MachineState.BOOTED, steps=(called,)))
    ledger.mailbox.report(replace(IDLE, state=MachineState.BUSY, job_id=42, steps=(taken,)))
    later = AT + timedelta(seconds=30)
    ledger.mailbox.report(
        replace(
            IDLE,
            heartbeat_at=later,
            state=MachineState.DONE,
            job_id=42,
            outcome=Outcome.FAILED,
            detail="exit status 3",
        )
    )
    assert ledger.report() == Report(
        heartbeat_at=later,
        state=MachineState.DONE,
        runner_id="rf-1",
        job_id=42,
        outcome=Outcome.FAILED,
        detail="exit status 3",
        beats=3,
        steps=(called, taken),
    )


def test_only_the_first_claims(ledger: Ledger) -> None:
    called = Step(at=AT, name=StepName.CALLED_HOME)
    first = replace(IDLE, state=MachineState.BOOTED, steps=(called,))
    assert ledger.mailbox.claim(first)
    assert not ledger.mailbox.claim(replace(first, steps=()))
    assert ledger.report() == first


def test_an_order_is_read(ledger: Ledger) -> None:
    assert ledger.mailbox.order() is None
    order = Order(reason="surplus", at=AT)
    ledger.put(order.item(ledger.machine, expires_at=AT + timedelta(hours=1)))
    assert ledger.mailbox.order() == order
