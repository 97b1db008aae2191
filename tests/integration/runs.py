"""Scripts for the fake runner, and a credential and a mailbox to run them with."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from adapters.aws.cipher import KmsCipher
from adapters.guest.process_tree import DEAD, stats
from adapters.guest.runner_process import BINARY_VARIABLE, RunSpec, clean_environment
from fleet.machine.mailbox import Credential, Order, Report
from fleet.steps import Step, StepName
from local.aws.engine import Engine
from local.aws.stack import Stack

FAKE = Path(__file__).with_name("fake_runner.py")
REAL = os.environ.get(BINARY_VARIABLE, "")
TOKEN = "glrt-abcdefghijklmnopqrst"
# The fake's interpreter is the one of the tests.
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

STARTED = ("say", {"msg": "Starting runner for http://h with token abcdefghi ..."})
RECEIVED = ("say", {"msg": "Checking for jobs... received", "job": 101})
STORED = ("say", {"msg": "Appending trace to coordinator...ok", "job": 101})
SUCCEEDED = ("say", {"msg": "Job succeeded", "job": 101, "duration_s": 0.5})
ABORTED = ("say", {"msg": "Job failed (system failure): aborted: terminated\n", "job": 101})
FORBIDDEN = ("say", {"msg": "Checking for jobs... forbidden", "level": "error"})
QUITTING = ("say", {"msg": "Requested quit, waiting for builds to finish"})
TERMINATED = ("say", {"msg": "Requested exit: terminated", "level": "warning"})
OBEDIENT = ("on", {"SIGTERM": [TERMINATED, ("exit", 0)], "SIGQUIT": [QUITTING, ("exit", 0)]})
ABORTING = ("on", {"SIGTERM": [TERMINATED, ABORTED, ("exit", 0)], "SIGQUIT": []})
LONG = ("wait", 60)
JOB = [STARTED, RECEIVED, STORED, SUCCEEDED, ("exit", 0)]
BUSY = [ABORTING, STARTED, RECEIVED, LONG]


def credential(script: Iterable[tuple[str, Any]], folder: Path, **changes: Any) -> Credential:
    """A credential whose "GitLab" is a script for the fake runner."""
    path = folder / f"script-{time.monotonic_ns()}.json"
    path.write_text(json.dumps(list(script)))
    wanted: dict[str, Any] = {
        "runner_id": "rf-test-1",
        "pool": "test",
        "url": str(path),
        "token": TOKEN,
        "executor": "shell",
        "wait_timeout_s": 60,
        "expires_at": datetime.now(UTC) + timedelta(hours=1),
        "name": "rf-test-1",
    }
    return Credential(**(wanted | changes))


def spec(script: Iterable[tuple[str, Any]], folder: Path, **environment: str) -> RunSpec:
    """The same script for `RunOnce`, without what a credential adds."""
    url = credential(script, folder).url
    home = folder / "home"
    return RunSpec(
        binary=str(FAKE),
        config=f'[[runners]]\nname = "rf-test-1"\nurl = "{url}"\ntoken = "{TOKEN}"\n',
        name="rf-test-1",
        wait_timeout_s=60,
        home=home,
        environment=clean_environment({"PATH": PATH, **environment}, home=home),
    )


def eventually(holds: Callable[[], bool], *, within_s: float = 60.0) -> None:
    """Wait until it holds; fails when it does not in time."""
    give_up = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < give_up, "this did not hold in time"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    return any(process == pid and state not in DEAD for process, state, _ in stats())


@dataclass(slots=True)
class Letters:
    """A mailbox that keeps every report, and holds an order if there is one."""

    reports: list[Report] = field(default_factory=list)
    waiting: Order | None = None

    def report(self, report: Report) -> None:
        self.reports.append(report)

    def order(self) -> Order | None:
        """The order that was put here."""
        return self.waiting

    @property
    def history(self) -> list[Step]:
        """All steps in their order, but the warning that depends on how a runner is installed."""
        steps = [step for report in self.reports for step in report.steps]
        return [step for step in steps if step.name is not StepName.EXPOSED]

    @property
    def steps(self) -> list[str]:
        """The names of the history's steps."""
        return [step.name.value for step in self.history]

    @property
    def states(self) -> list[str]:
        """The reported states, each once in a row."""
        states = [report.state.value for report in self.reports]
        return [
            state for state, before in zip(states, [None, *states], strict=False) if state != before
        ]


@dataclass(frozen=True, slots=True)
class Mailboxes:
    """The mailboxes of a stack, as the fleet reads and writes them."""

    engine: Engine
    stack: Stack

    def equip(self, mailbox: str, credential: Credential) -> None:
        """Put a credential into a mailbox."""
        write = TypeSerializer().serialize
        cipher = KmsCipher(self.engine.client("kms"), self.stack.mailbox_key)
        item = {name: write(value) for name, value in credential.item(mailbox, cipher).items()}
        table = self.stack.mailbox_table
        self.engine.client("dynamodb").put_item(TableName=table, Item=item)

    def report(self, mailbox: str) -> Report | None:
        """The last report of a machine."""
        key = {"pk": {"S": mailbox}, "sk": {"S": "report"}}
        table = self.stack.mailbox_table
        item = self.engine.client("dynamodb").get_item(TableName=table, Key=key).get("Item")
        read = TypeDeserializer().deserialize
        return item and Report.of_item({name: read(value) for name, value in item.items()})

    def is_in(self, mailbox: str, state: str) -> bool:
        """Whether the last report has this state."""
        report = self.report(mailbox)
        return report is not None and report.state == state
