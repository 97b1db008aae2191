"""One machine of a burst: calls home, takes its credential, runs one job that does nothing, ends.

It is the agent and the runner in a thread: the same reports and the same protocol, no processes.
"""

import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from adapters.guest.reporter import MachineStatus, Post, Reporter
from fleet.machine.mailbox import Credential, MachineState
from fleet.steps import Outcome, StepName, Undated
from local.stand_in.config import RunnerOptions
from local.stand_in.gitlab import Job, JobServer, Result

HEARTBEAT_S = 30.0  # as the agent's
BOOT_DEADLINE = timedelta(minutes=5)
ASK_EVERY_S = 3.0  # as gitlab-runner's check_interval
SLICE_S = 0.25
OUTPUT = b"one of many jobs\nJob succeeded\n"


class GuestMailbox(Post, Protocol):
    """The guest's own mailbox: `adapters.ledger.mailbox.Mailbox`."""

    def take_credential(
        self, deadline: datetime, *, pause: Callable[[float], None]
    ) -> Credential | None:
        """The credential as soon as it is there; `None` when it is not there in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """The settings of a guest. `is_up`: whether its instance still runs."""

    mailbox: GuestMailbox
    system_id: str
    boot_s: float
    job_s: float
    is_up: Callable[[], bool]
    pause: Callable[[float], None] = time.sleep


def live(life: Life) -> Outcome:
    """From boot to goodbye; how its only job ended."""
    if not _rest(life, life.boot_s):
        return Outcome.INTERRUPTED
    with Reporter(life.mailbox, heartbeat_s=HEARTBEAT_S) as reporter:
        reporter.report(Undated(name=StepName.CALLED_HOME), status=MachineStatus())
        credential = life.mailbox.take_credential(_now() + BOOT_DEADLINE, pause=life.pause)
        if credential is None:
            outcome = Outcome.NO_JOB
        else:
            status = MachineStatus(runner_id=credential.runner_id)
            reporter.report(Undated(name=StepName.CREDENTIAL_READ), status=status)
            outcome = _serve(life, credential, reporter)
        done = replace(reporter.status, state=MachineState.DONE, outcome=outcome)
        exited = Undated(name=StepName.RUNNER_EXITED, job_id=done.job_id, outcome=outcome)
        reporter.report(exited, Undated(name=StepName.ENDED, job_id=done.job_id), status=done)
    return outcome


def _serve(life: Life, credential: Credential, reporter: Reporter) -> Outcome:
    """Ask for a job until there is one, as long as the credential says."""
    runner = RunnerOptions(url=credential.url, token=credential.token)
    gitlab = JobServer(runner, system_id=life.system_id, log=_say_nothing)
    reporter.report(status=replace(reporter.status, state=MachineState.IDLE))
    gives_up_at = _now() + timedelta(seconds=credential.wait_timeout_s)
    while life.is_up() and not reporter.ordered and _now() < gives_up_at:
        job, may_ask = gitlab.request_job()
        if job is not None:
            return _run(life, gitlab, job, reporter)
        if not may_ask:
            return Outcome.FORBIDDEN
        _rest(life, ASK_EVERY_S)
    return Outcome.NO_JOB


def _run(life: Life, gitlab: JobServer, job: Job, reporter: Reporter) -> Outcome:
    """Take as long as the job does, send its log and its end."""
    busy = replace(reporter.status, state=MachineState.BUSY, job_id=job["id"])
    reporter.report(Undated(name=StepName.JOB_TAKEN, job_id=job["id"]), status=busy)
    if not _rest(life, life.job_s):
        return Outcome.INTERRUPTED
    gitlab.patch_trace(job, OUTPUT, 0)
    checksum = f"crc32:{zlib.crc32(OUTPUT):08x}"
    output = {"checksum": checksum, "bytesize": len(OUTPUT)}
    reply = gitlab.update_job(job, "success", output)
    outcome = Outcome.SUCCEEDED if reply.result is Result.OK else Outcome.SYSTEM_FAILURE
    steps = (
        Undated(name=StepName.FIRST_OUTPUT, job_id=job["id"]),
        Undated(name=StepName.JOB_FINISHED, job_id=job["id"], outcome=outcome),
    )
    reporter.report(*steps, status=replace(busy, outcome=outcome))
    return outcome


def _say_nothing(*_: object, **__: object) -> None:
    """Instead of the runner's own log."""


def _rest(life: Life, seconds: float) -> bool:
    """Let time pass; False as soon as the instance is gone."""
    remaining_s = seconds
    while remaining_s > 0 and life.is_up():
        life.pause(min(SLICE_S, remaining_s))
        remaining_s -= SLICE_S
    return life.is_up()


def _now() -> datetime:
    return datetime.now(UTC)
