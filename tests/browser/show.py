"""A fleet with something of everything, for looks at the dashboard, and a server for it.

`python -m tests.browser.show` serves it until Ctrl-C.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

from adapters.ledger.spending import spending_changes
from fleet.machine.mailbox import MachineState
from fleet.reasons import Reason
from fleet.rules.capacity import BackOff
from fleet.steps import Step, StepName
from local.past_month import month
from monitor.app import Serving, make_app
from monitor.board import Board
from monitor.guard import LOOPBACK_NAMES
from monitor.questions import Ask, Sources, in_this_process
from monitor.serving import Server, listen
from operations.controls import pause
from tests.unit.cli.fleet_at_work import AT, AtWork, ago, key
from tests.unit.operations.test_limits import Account

FLEET = """\
[gitlab]
url = "https://gitlab.example.com"
runners_in = "group:42"

[pools.docker]
backend = "ec2"
tags = ["docker"]
instance_types = ["m7i.large", "m7a.large"]
ceiling = 10
idle = { count = 1 }
budget_usd_per_day = 40

[pools.big]
backend = "ec2"
tags = ["docker", "big"]
instance_types = ["m7i.4xlarge"]
ceiling = 4

[pools.node]
backend = "lambda"
tags = ["node"]
ceiling = 50
max_job_time = "11m"

[budgets.projects]
"acme/demo" = 25
"""
_STATES = [
    *[("docker", MachineState.BUSY)] * 6,
    ("docker", MachineState.IDLE),
    *[("docker", None)] * 2,
    ("docker", MachineState.DONE),
    *[("big", MachineState.BUSY)] * 3,
    ("big", None),
    *[("node", MachineState.BUSY)] * 5,
]


def fleet_on_show() -> AtWork:
    """Pools at and below their ceilings, machines in every phase, and a few problems."""
    at_work = AtWork().configure(FLEET)
    for number, (pool, state) in enumerate(_STATES, start=1):
        lived_s = 30.0 + (number * 97) % 1500
        runner = at_work.runner(number, pool=pool, launched_s=lived_s if state else 25 + number)
        if state:
            _report(at_work, runner, state, lived_s, job_id=9000 + number)
        if state is MachineState.BUSY:
            job = at_work.job(9000 + number, pool=pool, waits_s=lived_s + 4, name=f"test {number}")
            started = ago(lived_s * 0.8)
            at_work.advance(job, "running", at=started, started_at=started, runner_id=runner.id)
    for number, word in enumerate(("success", "failed", "canceled", "success"), start=1):
        job = at_work.job(
            8000 + number, waits_s=900 + number, name="lint" if number % 2 else "build"
        )
        start, end = ago(880), ago(100 + 60 * number)
        ended = {"finished_at": end, "runner_id": f"rf-docker-00000000010{number}"}
        ended |= {"failure_reason": "script_failure"} if word == "failed" else {}
        at_work.advance(job, word, at=end, started_at=start, **ended)
    for number in range(7):
        at_work.job(9900 + number, pool="big", waits_s=40 + 60 * number, tags=("docker", "big"))
        at_work.waits_because(9900 + number, Reason.AT_CEILING)
    at_work.job(7001, pool=None, reason=Reason.NO_POOL, waits_s=700, tags=("gpu",), name="train")
    at_work.fleet.note_decision("big", "at_ceiling")
    at_work.fleet.note_decision("docker", "covered")
    for run in month(1500, AT):
        at_work.deployed.history.write(run)
    dry = BackOff(until=AT + timedelta(seconds=90), failures=2, code="InsufficientInstanceCapacity")
    at_work.fleet.note_back_off("docker", {"m7i.large/subnet-1/spot": dry})
    _spend_and_pause(at_work)
    return at_work


def _spend_and_pause(at_work: AtWork) -> None:
    for pool, usd in (("docker", 12), ("big", 6)):
        run = replace(next(month(1, AT)), ended_at=AT, pool=pool, project_id=7)
        for change in spending_changes(replace(run, usd_nano=usd * 10**9)):
            at_work.table.write(change)
    until = AT + timedelta(hours=2)
    pause(at_work.deployed, "node", note="waiting for AWS's case 4711", until=until)


def _report(at_work: AtWork, runner: Any, state: MachineState, lived_s: float, job_id: int) -> None:
    steps = [
        Step(at=ago(lived_s * 0.9), name=StepName.CALLED_HOME),
        Step(at=ago(lived_s * 0.88), name=StepName.CREDENTIAL_READ),
    ]
    if state in {MachineState.BUSY, MachineState.DONE}:
        steps.append(Step(at=ago(lived_s * 0.8), name=StepName.JOB_TAKEN, job_id=job_id))
    if state is MachineState.DONE:
        steps.append(Step(at=ago(lived_s * 0.1), name=StepName.JOB_FINISHED, job_id=job_id))
    facts = {"job_id": job_id} if state is MachineState.BUSY else {}
    at_work.reports(runner, state, *steps, **facts)


def asking(at_work: AtWork) -> Ask:
    """Reads it in this process, with the quotas of an account."""
    aws = Account(metrics={"Standard/Spot": 27.0}).clients()
    return in_this_process(Sources(deployed=at_work.deployed, aws=aws))


@contextmanager
def served(at_work: AtWork, *, ask: Ask | None = None, board: Board | None = None) -> Iterator[str]:
    """The dashboard of a fleet on a free port of this machine; gives its address."""
    door = listen("127.0.0.1", 0)
    serving = Serving(names=LOOPBACK_NAMES)
    app = make_app(at_work.deployed, serving, ask=ask or asking(at_work), board=board)
    server = Server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{door.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        door.close()


if __name__ == "__main__":
    with served(fleet_on_show()) as address:
        print(address, flush=True)
        while True:
            time.sleep(60)

__all__ = ["fleet_on_show", "key", "served"]
