"""The function of the Lambda back end: one invocation, one gitlab-runner, one job."""

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import boto3
from botocore.config import Config

from adapters.aws.plain_settings import EnvironmentReader
from adapters.guest.cache_keys import CacheKeys, keys_of, no_keys
from adapters.guest.one_job import Workplace, run_one_job
from adapters.guest.process_tree import hide_memory
from adapters.guest.reporter import MachineStatus, Post, Reporter
from adapters.ledger.mailbox import Mailbox
from fleet.errors import Refused
from fleet.machine.mailbox import Credential, MachineState, Report
from fleet.steps import Outcome, Step, StepName, Undated
from fleet.times import in_utc

CLIENT = Config(connect_timeout=3, read_timeout=5, retries={"mode": "standard"})
# Kept free before Lambda ends the sandbox, on top of what stopping a job takes.
TO_SAY_GOODBYE = timedelta(seconds=3)
DUPLICATE = "duplicate"
LATE = "late"


class LambdaContext(Protocol):
    """The part of Lambda's context object that we use."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends this invocation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """The event: a runner and its mailbox. It holds no secret."""

    runner_id: str
    mailbox: str
    table: str | None = None  # the ledger, when not the one of FLEET_LEDGER_TABLE
    until: datetime | None = None  # later than this, another attempt has taken over

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> "Invocation":
        """Read an event. Raises `Refused` for a foreign one."""
        values = {name: event.get(name) for name in ("runner_id", "mailbox", "table")}
        for name, value in values.items():
            if not (isinstance(value, str) and value) and (name != "table" or value is not None):
                raise Refused("this event does not name its runner and mailbox", name=name)
        return cls(**values, until=_time(event.get("until")))  # type: ignore[arg-type]  # just checked


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerSettings:
    """The function's environment, each as FLEET_ and its name in capitals."""

    ledger_table: str
    work_dir: Path = Path("/tmp")  # noqa: S108 - the only place that Lambda lets us write
    heartbeat_s: float = 30.0
    boot_deadline_s: float = 120.0  # to wait for the credential

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "RunnerSettings":
        """The settings. Raises `Refused` with the name of a missing or bad variable."""
        reader = EnvironmentReader(environment)
        return cls(
            ledger_table=reader.text("ledger_table"),
            **reader.seconds("heartbeat_s", "boot_deadline_s"),
            **reader.paths("work_dir"),
        )


class InvocationMailbox(Post, Protocol):
    """The invocation's own mailbox in the ledger: `adapters.ledger.mailbox.Mailbox`."""

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
    environment: Mapping[str, str] = field(repr=False)
    cache_keys: Callable[[], CacheKeys | None] = no_keys


def handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Lambda's entry: serve one job; a failed job is an answer, not an error.

    An event that Lambda held back for too long is `late`: the fleet has given its runner up.

    Raises `Transient` or `Refused` without a usable mailbox or event, before it takes a job.
    """
    hide_memory()  # a job runs as the same user and must not read our credentials in /proc
    invocation = Invocation.of(event)
    if invocation.until is not None and datetime.now(UTC) >= invocation.until:
        return {"runner_id": invocation.runner_id, "outcome": LATE, "job_id": None}
    settings = RunnerSettings.of(os.environ)
    table = invocation.table or settings.ledger_table
    left = timedelta(milliseconds=context.get_remaining_time_in_millis())
    sandbox = InvocationSetup(
        settings=settings,
        mailbox=Mailbox(boto3.client("dynamodb", config=CLIENT), table, invocation.mailbox),
        ends_at=datetime.now(UTC) + left - TO_SAY_GOODBYE,
        environment=os.environ,
        cache_keys=lambda: keys_of(boto3.Session(), os.environ),
    )
    answer = serve(invocation.runner_id, sandbox)
    return {"runner_id": invocation.runner_id, **answer}


def serve(runner_id: str, sandbox: InvocationSetup) -> dict[str, Any]:
    """Call home, take the credential, run the one job: `outcome` and `job_id`.

    Lambda delivers an asynchronous event at least once: the second delivery is `duplicate`.
    """
    called = Step(at=datetime.now(UTC), name=StepName.CALLED_HOME)
    booted = MachineStatus(runner_id=runner_id)
    first = Report(heartbeat_at=called.at, state=booted.state, runner_id=runner_id, steps=(called,))
    if not sandbox.mailbox.claim(first):
        return {"outcome": DUPLICATE, "job_id": None}
    heartbeat_s = sandbox.settings.heartbeat_s
    with Reporter(sandbox.mailbox, heartbeat_s=heartbeat_s, status=booted) as reporter:
        wait = timedelta(seconds=sandbox.settings.boot_deadline_s)
        credential = sandbox.mailbox.take_credential(datetime.now(UTC) + wait)
        if credential is None:
            detail = f"no credential within {wait.total_seconds():.0f} s"
            reporter.tell(status=replace(booted, outcome=Outcome.NO_JOB, detail=detail))
        else:
            reporter.tell(Undated(name=StepName.CREDENTIAL_READ), status=booted)
            _run(credential, sandbox, reporter)
        done = replace(reporter.status, state=MachineState.DONE)
        reporter.tell(
            Undated(name=StepName.ENDED, job_id=done.job_id, detail=done.detail), status=done
        )
    return {"outcome": done.outcome.value if done.outcome else None, "job_id": done.job_id}


def _run(credential: Credential, sandbox: InvocationSetup, reporter: Reporter) -> None:
    """Run the job in a clean folder, and clean it again."""
    home = sandbox.settings.work_dir
    wipe(home)
    workplace = Workplace(
        home=home,
        ends_at=min(sandbox.ends_at, credential.expires_at),
        environment=sandbox.environment,
        cache_keys=sandbox.cache_keys,
        echo=_echo,
    )
    run_one_job(credential, workplace, reporter)
    wipe(home)


def wipe(folder: Path) -> None:
    """Empty a folder, whatever rights a job gave to its files."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            _open_up(entry)
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _open_up(folder: Path) -> None:
    """Make every folder below writable, top down: Go's module cache, for example, is not."""
    folder.chmod(0o700)
    for parent, folders, _ in os.walk(folder):
        for name in folders:
            inner = Path(parent, name)
            if not inner.is_symlink():
                inner.chmod(0o700)


def _time(text: object) -> datetime | None:
    if text is None:
        return None
    try:
        return in_utc(datetime.fromisoformat(str(text)))
    except ValueError:
        raise Refused("this event has an unreadable time limit", until=text) from None


def _echo(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
