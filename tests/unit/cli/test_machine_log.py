"""`logs` of a runner: its agent's words, then what its cloud kept, live or ended."""

from dataclasses import replace
from datetime import datetime

import pytest

from fleet.errors import Refused
from fleet.machine.mailbox import MachineState
from fleet.reasons import Reason
from fleet.rules.runner_record import PREFIX
from fleet.steps import Step, StepName
from operations.machine_log import machine_log
from tests.unit.cli.fleet_at_work import AT, AtWork, ago, key

NAME = "rf-docker-000000000001"


def at_work() -> AtWork:
    stack = AtWork().configure()
    runner = stack.runner(1, for_job=key(1))
    stack.job(1)
    home = Step(at=ago(9), name=StepName.CALLED_HOME, detail="agent\x1b[31m 1.0")
    stack.reports(runner, MachineState.IDLE, home)
    return stack


def says(machine_id: str, since: datetime, until: datetime) -> str:
    assert since < until
    return f"console of {machine_id}\nLinux boots"


def lines_of(stack: AtWork) -> list[str]:
    return list(machine_log(stack.deployed, NAME, says))


def test_a_live_runners_agent_and_console_are_printed() -> None:
    assert NAME.startswith(PREFIX)
    lines = lines_of(at_work())
    assert lines[-2:] == ["console of i-1", "Linux boots"]
    assert sum("agent: " in line for line in lines) == 1


def test_an_ended_runners_steps_are_those_of_its_jobs_history() -> None:
    stack = at_work()
    (runner,) = stack.runners.live("docker")
    stack.runners.close(runner, Reason.BOOT_DEADLINE, at=AT)
    gone = Step(at=AT, name=StepName.MACHINE_GONE, runner=NAME, machine="i-1")
    other = Step(at=AT, name=StepName.MACHINE_GONE, runner="rf-docker-2", machine="i-2")
    stack.jobs.extend(key(1), [gone, other])
    lines = lines_of(stack)
    assert "its agent reported nothing" in lines
    assert lines[-1] == "Linux boots"


def test_each_step_of_an_ended_runner_has_its_author_and_they_stand_in_time() -> None:
    stack = at_work()
    (runner,) = stack.runners.live("docker")
    stack.runners.close(runner, Reason.ORDERED, at=AT)
    home = Step(at=ago(9), name=StepName.CALLED_HOME, runner=NAME)
    gone = Step(
        at=AT, name=StepName.MACHINE_GONE, reason=Reason.ORDERED, runner=NAME, machine="i-1"
    )
    launched = Step(at=ago(20), name=StepName.LAUNCHED, runner=NAME)
    stack.jobs.extend(key(1), [gone, home, launched])
    assert [line.partition(" ")[2].partition(" ")[2] for line in lines_of(stack)[1:4]] == [
        f"fleet: launched {NAME}",
        "agent: machine called home",
        "fleet: machine gone i-1: a person ordered its end",
    ]


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, ": no such instance"),
        ({"call": "ec2.Get", "code": "Gone"}, "answers ec2.Get with Gone"),
        ({"call": "ec2.Get", "code": "InvalidAction"}, "it has no ec2.Get"),
    ],
)
def test_what_the_cloud_refuses_is_a_line(facts: dict[str, str], words: str) -> None:
    def refuses(*_: object) -> str:
        raise Refused("no such instance", **facts)

    lines = list(machine_log(at_work().deployed, NAME, refuses))
    assert lines[-1].endswith(words)


def test_an_unknown_runner_is_refused() -> None:
    with pytest.raises(Refused):
        list(machine_log(AtWork().configure().deployed, NAME, says))


def test_the_command_prints_no_orders_of_a_terminal() -> None:
    stack = at_work()
    deployed = replace(stack.deployed, read_console=says)
    result = stack.run_on(deployed, "logs", NAME)
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
