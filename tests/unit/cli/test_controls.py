"""`pool`, `runner`, `job`, `interrupt`: orders that are given once, shown, and written down."""

import json
from collections.abc import Callable
from shlex import split

import pytest

from fleet.machine.mailbox import MachineState
from fleet.reasons import Reason
from fleet.rules.controls import ControlKind
from fleet.steps import Step, StepName
from tests.unit.cli.fleet_at_work import AT, AtWork, ago, key

Screen = Callable[[str, str], None]
RUNNER = "rf-docker-000000000001"


def at_work() -> AtWork:
    stack = AtWork(person="user/dana").configure()
    runner = stack.runner(1)
    stack.reports(runner, MachineState.BUSY, job_id=1)
    job = stack.job(1)
    stack.advance(job, "running", at=AT, started_at=ago(30), runner_id=runner.id)
    stack.job(2)
    step = Step(at=AT, name=StepName.GIVEN_UP, reason=Reason.ATTEMPTS_USED)
    assert stack.jobs.demand_again(key(2), 2, step, given_up=True)
    stack.job(3, waits_s=50)
    stack.waits_because(3, Reason.COVERED)
    stack.runner(4, pool="node", backend_of="lambda")
    return stack


def test_the_orders_and_how_they_are_shown(screen: Screen) -> None:
    stack = at_work()
    for call in (
        "pool pause docker --note 'bad image' --until 2h",
        "pool pause docker --note 'bad image' --until 2h",
        "pool pause --note freeze",
        "pool ceiling docker 200 --for 3h --note release",
        "pool ceiling docker 200 --for 3h --note release",
        f"runner end {RUNNER} --note 'stuck disk'",
        f"runner end {RUNNER} --note 'stuck disk'",
        "status",
        "explain 3",
        "pool resume docker",
        "pool resume",
        "pool resume",
        "pool ceiling docker reset",
        "pool ceiling docker reset",
        "interrupt acme/demo#1",
        "job relaunch 2",
        "job relaunch 2",
        "job relaunch 3",
        "pool acts",
        "pool resume --json",
    ):
        stack.run(*split(call))
    screen("controls", str(stack.session))


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("pool pause nope", 1),
        ("pool ceiling nope 3", 1),
        ("pool ceiling docker -- -1", 2),
        ("pool ceiling docker many", 2),
        ("pool ceiling docker 10001", 1),
        ("pool ceiling docker 3 --for soon", 2),
        ("pool pause docker --until yesterday", 2),
        ("pool pause docker --until 2020-01-01", 2),
        ("runner end rf-docker-ffffffffffff", 1),
        ("runner end ''", 1),
        ("interrupt 2", 1),
        ("interrupt 99", 1),
        ("job relaunch 1", 1),
        ("job relaunch x", 2),
        ("interrupt x", 2),
        ("pool resume nope", 1),
        ("pool acts --since never", 2),
    ],
)
def test_a_wrong_order_is_one_line_and_changes_nothing(call: str, code: int) -> None:
    stack = at_work()
    result = stack.run(*split(call))
    assert result.exit_code == code
    assert len(result.stderr.splitlines()) == 1
    assert stack.fleet.controls() == ()
    assert stack.fleet.acts(AT.replace(day=1), AT.replace(month=12)) == ()


def test_a_machine_on_lambda_is_not_ended_at_once() -> None:
    stack = at_work()
    assert stack.run("runner", "end", "rf-node-000000000004", "--now").exit_code == 1
    assert stack.run("runner", "end", "rf-node-000000000004").exit_code == 0


def test_an_order_is_there_once_and_its_audit_has_every_change() -> None:
    stack = at_work()
    for note in ("a", "a", "b"):
        stack.run("pool", "pause", "docker", "--note", note)
        stack.clock.go(1)
    (control,) = stack.fleet.controls()
    assert (control.kind, control.note, control.who) == (ControlKind.PAUSE, "b", "user/dana")
    acts = json.loads(stack.run("pool", "acts", "--json").stdout)["acts"]
    assert [act["note"] for act in acts] == ["b", "a"]
    assert {act["who"] for act in acts} == {"user/dana"}


def test_an_interrupted_jobs_machine_is_ordered_to_end_at_once() -> None:
    stack = at_work()
    stack.run("interrupt", "1")
    (control,) = stack.fleet.controls()
    assert (control.kind, control.about, control.at_once) == (ControlKind.END, RUNNER, True)
