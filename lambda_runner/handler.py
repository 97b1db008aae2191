"""The function of the Lambda back end: one invocation, one gitlab-runner, one job."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import boto3
from botocore.config import Config

from adapters.aws.cipher import KmsCipher
from adapters.aws.lambda_context import LambdaContext
from adapters.guest.one_job import Workplace, run_one_job
from adapters.guest.process_tree import Family, hide_memory
from adapters.guest.reporter import MachineStatus, Post, Reporter
from adapters.guest.settings import EnvironmentReader
from adapters.ledger.mailbox import Mailbox
from fleet.errors import Refused
from fleet.machine.mailbox import Credential, MachineState, Report
from fleet.machine.sandbox import is_late, why_last
from fleet.steps import Outcome, Step, StepName, Undated
from fleet.times import in_utc
from lambda_runner.sandbox import LambdaSandbox

CLIENT = Config(connect_timeout=3, read_timeout=5, retries={"mode": "standard"})
# For the last report, before Lambda ends the sandbox and besides what stopping a job takes.
FOR_LAST_REPORT = timedelta(seconds=3)
DUPLICATE = "duplicate"
LATE = "late"
UNCLEAN = 70  # the exit code of a runtime that is given up


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """The event: a runner and its mailbox. It holds no secret."""

    runner_id: str
    mailbox: str
    project: str | None = None  # path of the project that the sandbox is for; None: of any
    until: datetime | None = None  # later than this, another attempt has taken over

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> "Invocation":
        """Read an event. Raises `Refused` for a foreign one."""
        values = {name: event.get(name) for name in ("runner_id", "mailbox")}
        for name, value in values.items():
            if not (isinstance(value, str) and value):
                raise Refused("this event does not name its runner and mailbox", name=name)
        project, until = str(event.get("project") or ""), _time(event.get("until"))
        return cls(**values, project=project or None, until=until)  # type: ignore[arg-type]  # just checked


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerSettings:
    """The function's environment, each as FLEET_ and its name in capitals."""

    mailbox_table: str
    mailbox_key: str
    work_dir: Path = Path("/tmp")  # noqa: S108 - the only place that Lambda lets us write
    heartbeat_s: float = 30.0
    boot_deadline_s: float = 120.0  # to wait for the credential

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "RunnerSettings":
        """The settings. Raises `Refused` with the name of a missing or bad variable."""
        reader = EnvironmentReader(environment)
        return cls(
            mailbox_table=reader.text("mailbox_table"),
            mailbox_key=reader.text("mailbox_key"),
            **reader.seconds("heartbeat_s", "boot_deadline_s"),
            **reader.paths("work_dir"),
        )


class InvocationMailbox(Post, Protocol):
    """The invocation's own mailbox: `adapters.ledger.mailbox.Mailbox`."""

    def claim(self, report: Report) -> bool:
        """Write the first report; False when the mailbox has one already."""

    def take_credential(self, deadline: datetime) -> Credential | None:
        """The credential as soon as it is there; `None` when it is not there in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InvocationSetup:
    """The surroundings of one invocation."""

    settings: RunnerSettings
    mailbox: InvocationMailbox
    ends_at: datetime
    sandbox: LambdaSandbox
    environment: Mapping[str, str] = field(repr=False)
    project: str | None = None


def handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Lambda's entry: serve one job; a failed job is an answer, not an error.

    An event that Lambda held back for too long is `late`: the fleet has given its runner up. A
    sandbox that is not proven clean serves no other job: its runtime ends here.

    Raises `Transient` or `Refused` without a usable mailbox or event, before it takes a job.
    """
    hide_memory()  # a job runs as the same user and must not read our credentials in /proc
    invocation = Invocation.of(event)
    if is_late(invocation.until, datetime.now(UTC)):
        return {"runner_id": invocation.runner_id, "outcome": LATE, "job_id": None}
    settings = RunnerSettings.of(os.environ)
    remaining = timedelta(milliseconds=context.get_remaining_time_in_millis())
    setup = InvocationSetup(
        settings=settings,
        mailbox=Mailbox(
            boto3.client("dynamodb", config=CLIENT),
            settings.mailbox_table,
            invocation.mailbox,
            KmsCipher(boto3.client("kms", config=CLIENT), settings.mailbox_key),
        ),
        ends_at=datetime.now(UTC) + remaining - FOR_LAST_REPORT,
        sandbox=LambdaSandbox(settings.work_dir, Family(all_children=True)),
        environment=os.environ,
        project=invocation.project,
    )
    return answer(invocation.runner_id, serve(invocation.runner_id, setup))


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The result of one invocation. `is_clean`: the sandbox may serve another one."""

    outcome: str | None
    job_id: int | None = None
    is_clean: bool = True


def answer(runner_id: str, served: Served) -> dict[str, Any]:
    """The answer to Lambda. Instead of one, the runtime ends when its sandbox is not clean."""
    if not served.is_clean:
        os._exit(UNCLEAN)
    return {"runner_id": runner_id, "outcome": served.outcome, "job_id": served.job_id}


def serve(runner_id: str, setup: InvocationSetup) -> Served:
    """Call home, prove the sandbox clean, take the credential, run the one job, clean up.

    Lambda delivers an asynchronous event at least once: the second delivery is `duplicate`.
    """
    called = Step(at=datetime.now(UTC), name=StepName.CALLED_HOME)
    booted = MachineStatus(runner_id=runner_id)
    first = Report(heartbeat_at=called.at, state=booted.state, runner_id=runner_id, steps=(called,))
    if not setup.mailbox.claim(first):
        return Served(outcome=DUPLICATE)
    heartbeat_s = setup.settings.heartbeat_s
    with Reporter(setup.mailbox, heartbeat_s=heartbeat_s, status=booted) as reporter:
        unclean = setup.sandbox.clean()
        if unclean:
            reporter.report(status=replace(booted, outcome=Outcome.NO_JOB, detail=unclean))
        else:
            foreign = _take_and_run(setup, reporter)
            unclean = setup.sandbox.clean() or foreign
        done = replace(reporter.status, state=MachineState.DONE)
        detail = unclean or done.detail
        reporter.report(
            Undated(name=StepName.ENDED, job_id=done.job_id, detail=detail), status=done
        )
    outcome = done.outcome.value if done.outcome else None
    return Served(outcome=outcome, job_id=done.job_id, is_clean=unclean is None)


def _take_and_run(setup: InvocationSetup, reporter: Reporter) -> str | None:
    """Wait for the credential and run the job that GitLab gives; why no other may follow."""
    booted = reporter.status
    wait = timedelta(seconds=setup.settings.boot_deadline_s)
    credential = setup.mailbox.take_credential(datetime.now(UTC) + wait)
    if credential is None:
        detail = f"no credential within {wait.total_seconds():.0f} s"
        reporter.report(status=replace(booted, outcome=Outcome.NO_JOB, detail=detail))
        return None
    reporter.report(Undated(name=StepName.CREDENTIAL_READ), status=booted)
    workplace = Workplace(
        home=setup.settings.work_dir,
        ends_at=min(setup.ends_at, credential.expires_at),
        environment=setup.environment,
        echo=_echo,
    )
    log = run_one_job(credential, workplace, reporter)
    return why_last(setup.project, log.repositories, url=credential.url)


def _time(text: object) -> datetime | None:
    if text is None:
        return None
    try:
        return in_utc(datetime.fromisoformat(str(text)))
    except ValueError:
        raise Refused("this event has an unreadable time limit", until=text) from None


def _echo(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
