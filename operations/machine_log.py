"""What a runner's machine left: its steps, and its console or its function's log."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from botocore.exceptions import ClientError

from adapters.aws.clients import Clients, aws_call
from adapters.ledger.runners import RunnerRows
from fleet.errors import FleetError, Refused
from fleet.job_event import instance_of
from fleet.steps import OF_MACHINES, Step
from operations.fleet_handle import Deployed
from operations.trail import LABELS, why_of, words_of

# What a machine's cloud shows of it: by its id and the time in which it lived.
ReadConsole = Callable[[str, datetime, datetime], str]
LATE = timedelta(minutes=2)  # lines that arrive after the end
NO_SUCH_CALL = "InvalidAction"  # the code of an AWS that lacks a call
NOT_THERE = "its cloud no longer keeps anything of it"


def machine_log(deployed: Deployed, runner_id: str, read_console: ReadConsole) -> Iterator[str]:
    """Line by line: its steps in time, then what its cloud kept. `Refused` without a runner.

    The words are a machine's: the caller that prints them escapes them.
    """
    at = deployed.clock()
    rows = RunnerRows(deployed.table, deployed.mailboxes, instance_of(deployed.config().gitlab.url))
    runner = rows.find(runner_id) or rows.ended(runner_id)
    if runner is None:
        raise Refused(f"the ledger has no runner {runner_id}: `runner-fleet runners --since 30d`")
    yield f"{runner.id} of pool {runner.pool}, machine {runner.machine_id or '(none)'}"
    report = rows.reports([runner]).get(runner.id)
    steps = report.steps if report else _steps_in_history(deployed, runner_id)
    for step in sorted(steps, key=lambda step: step.at):
        yield _line(step)
    if not any(step.name in OF_MACHINES for step in steps):
        yield "its agent reported nothing"
    if runner.machine_id is None:
        return
    try:
        text = read_console(
            runner.machine_id, runner.launched_at, min(at, runner.expires_at + LATE)
        )
    except FleetError as error:
        text = _unread(error)
    yield from (text or NOT_THERE).splitlines()


def _line(step: Step) -> str:
    """A step with its author: the agent in the machine, or the fleet."""
    author = "agent" if step.name in OF_MACHINES else "fleet"
    said = ": ".join(part for part in (words_of(step), why_of(step)) if part)
    return f"{step.at:%F %T} {author}: {LABELS[step.name]} {said}".rstrip()


def _unread(error: FleetError) -> str:
    """Why its cloud shows nothing."""
    call, code = error.facts.get("call"), error.facts.get("code")
    if code == NO_SUCH_CALL:
        return f"its cloud shows no console of a machine: it has no {call}"
    return f"its cloud shows nothing of it: {f'AWS answers {call} with {code}' if code else error}"


def console_reader(aws: Clients) -> ReadConsole:
    """The console of an EC2 machine, or the lines of a Lambda function while a runner lived."""

    def read_console(machine_id: str, since: datetime, until: datetime) -> str:
        if machine_id.startswith("i-"):
            return _console(aws, machine_id)
        return _function_log(aws, machine_id.partition("/")[0], since, until)

    return read_console


def _steps_in_history(deployed: Deployed, runner_id: str) -> tuple[Step, ...]:
    """The steps of an ended runner, from the row of its job."""
    instance = instance_of(deployed.config().gitlab.url)
    rows = RunnerRows(deployed.table, deployed.mailboxes, instance)
    key = rows.job_taken_by(runner_id) or rows.launched_for(runner_id)
    row = deployed.jobs.row(key) if key else None
    return tuple(step for step in row.steps if step.runner == runner_id) if row else ()


def _console(aws: Clients, machine_id: str) -> str:
    with aws_call("ec2.GetConsoleOutput"):
        return aws.ec2.get_console_output(InstanceId=machine_id).get("Output", "")


def _function_log(aws: Clients, function: str, since: datetime, until: datetime) -> str:
    """All lines of the function between two times: also those of other runners."""
    pages = aws.logs.get_paginator("filter_log_events").paginate(
        logGroupName=f"/aws/lambda/{function}",
        startTime=int(since.timestamp() * 1000),
        endTime=int((until + LATE).timestamp() * 1000),
        PaginationConfig={"MaxItems": 2000},
    )
    try:
        with aws_call("logs.FilterLogEvents", passing=("ResourceNotFoundException",)):
            lines = [event["message"].rstrip() for page in pages for event in page["events"]]
    except ClientError:
        return ""
    return "\n".join(lines)
