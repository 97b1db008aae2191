"""One job on one machine, from credential to goodbye, on both back ends."""

import os
import stat
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from adapters.guest.reporter import MachineStatus, Reporter
from adapters.guest.runner_process import (
    RunOnce,
    RunSpec,
    clean_environment,
    open_to_jobs,
    runner_binary,
)
from adapters.guest.usage import Meter
from fleet.errors import Refused
from fleet.machine.mailbox import Credential, MachineState
from fleet.machine.runner_log import RunnerLog, conclude, follow
from fleet.machine.runner_toml import RunnerPaths, runner_toml
from fleet.machine.stop import CALLS_OFF, Force, Run, Stop, Why, decide_stop, hears_drain
from fleet.proxy import proxy_environment
from fleet.steps import Outcome, StepName, Undated

TICK_S = 0.25
TLS_CA = "gitlab-ca.pem"  # below the home
IMAGE = "image"
SERVICES = "services"
LONGEST_IMAGE = 300  # characters
NO_SERVICES = """\
runner-fleet: services: are not started, a shell runner has no containers: give the job tags of a \
pool with the docker executor, or this pool an overflow
"""
NOTICES = {
    Why.SPOT_NOTICE: "AWS takes this spot machine back, so the job was stopped",
    Why.END_OF_MACHINE: "this machine has reached its longest lifetime, so the job was stopped",
}


def _now() -> datetime:
    return datetime.now(UTC)


def _no_spot_notice() -> datetime | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """Where and until when the job runs."""

    home: Path  # all that the runner writes is below
    ends_at: datetime  # the runner is stopped in time before this
    environment: Mapping[str, str] = field(repr=False)  # ours; the runner gets a few of it
    spot_at: Callable[[], datetime | None] = _no_spot_notice  # when AWS takes the machine back
    clock: Callable[[], datetime] = _now
    echo: Callable[[str], None] | None = None  # gets the runner's own log lines
    meter: Meter | None = None  # of a machine that serves no other job


def run_one_job(credential: Credential, workplace: Workplace, reporter: Reporter) -> RunnerLog:
    """Run gitlab-runner for its one job, or until it gets none; report every step.

    Always returns an outcome, also without a binary. Leaves no process behind.
    """
    notice = workplace.home / "notice"
    try:
        spec = _spec(credential, workplace, notice)
        with workplace.meter or nullcontext(), RunOnce(spec, echo=workplace.echo) as runner:
            reporter.report(status=_status(credential, RunnerLog()))
            _report_open_memory(credential, workplace, reporter)
            shift = _Shift(credential, workplace, reporter, notice)
            end = shift.work(runner)
        if workplace.meter and end.job_id is not None:
            usage = workplace.meter.usage()
            reporter.step(StepName.USED, job_id=end.job_id, usage=usage)
        if end.outcome is Outcome.SYSTEM_FAILURE and not end.started:
            end = replace(end, detail=f"{spec.binary}: {end.detail}")
    except (Refused, OSError) as exc:  # a full disk, for one
        end = RunnerLog(state=MachineState.DONE, outcome=Outcome.SYSTEM_FAILURE, detail=str(exc))
    exited = Undated(
        name=StepName.RUNNER_EXITED, job_id=end.job_id, outcome=end.outcome, detail=end.detail
    )
    reporter.report(exited, status=_status(credential, end))
    return end


def _report_open_memory(credential: Credential, workplace: Workplace, reporter: Reporter) -> None:
    """Report a gitlab-runner whose memory is open to jobs. In a container it never is."""
    if credential.executor == "docker":
        return
    opened = open_to_jobs(runner_binary(workplace.environment), workplace.environment)
    if opened:
        reporter.step(StepName.EXPOSED, detail=opened)


def _spec(credential: Credential, workplace: Workplace, notice: Path) -> RunSpec:
    home = workplace.home
    paths = RunnerPaths(
        builds_dir=str(home / "builds"),
        cache_dir=str(home / "cache"),
        tls_ca=str(home / TLS_CA),
        notice=str(notice),
        image=str(home / IMAGE),
        services=str(home / SERVICES),
    )
    if credential.tls_ca:
        home.mkdir(parents=True, exist_ok=True)
        (home / TLS_CA).write_text(credential.tls_ca)
    return RunSpec(
        binary=runner_binary(workplace.environment),
        config=runner_toml(credential, paths, ends_at=workplace.ends_at),
        name=credential.name,
        wait_timeout_s=credential.wait_timeout_s,
        home=home,
        environment=clean_environment(workplace.environment, home=home)
        | proxy_environment(credential.proxy),
    )


def _status(credential: Credential, log: RunnerLog) -> MachineStatus:
    return MachineStatus(
        state=log.state,
        runner_id=credential.runner_id,
        job_id=log.job_id,
        outcome=log.outcome,
        detail=log.detail,
    )


class _Shift:
    """Follows the log of one run and stops the run when a rule says so."""

    def __init__(
        self, credential: Credential, workplace: Workplace, reporter: Reporter, notice: Path
    ) -> None:
        self._credential = credential
        self._workplace = workplace
        self._reporter = reporter
        self._notice = notice
        self._log = RunnerLog()
        self._started_at: datetime | None = None
        self._called_off = False
        self._is_heard = False
        self._run = Run(
            at=workplace.clock(),
            started_at=workplace.clock(),
            ends_at=workplace.ends_at,
            wait_timeout_s=credential.wait_timeout_s,
            log=self._log,
        )

    def work(self, runner: RunOnce) -> RunnerLog:
        """Follow the process to its end; what its log says."""
        while runner.exit_code is None:
            line = runner.next_line(within_s=TICK_S)
            if line:
                self._learn(follow(self._log, line))
            self._look(runner)
        for line in runner.last_lines():
            self._learn(follow(self._log, line))
        self._expand_image()
        code = runner.exit_code
        return conclude(
            self._log, exit_code=0 if code is None else code, called_off=self._called_off
        )

    def _learn(self, log: RunnerLog) -> None:
        new = log.steps[len(self._log.steps) :]
        changed = new or log.state != self._log.state
        self._log = log
        if any(step.name is StepName.SERVICES for step in new):
            # The sources are fetched meanwhile: the script begins later.
            _write_notice(self._workplace.home / SERVICES, NO_SERVICES)
        if changed:
            self._reporter.report(*new, status=_status(self._credential, log))

    def _expand_image(self) -> None:
        """Report the image's name as the job had it, where it holds variables of the job.

        A job can write any name there, and with it says nothing of any other job.
        """
        named = next((step for step in self._log.steps if step.name is StepName.IMAGE), None)
        if named is not None and "$" in (named.detail or ""):
            name = _read_name(self._workplace.home / IMAGE)
            if name:
                self._reporter.step(StepName.IMAGE, job_id=named.job_id, detail=name)

    def _look(self, runner: RunOnce) -> None:
        at = self._workplace.clock()
        if self._log.started and self._started_at is None:
            self._started_at = at
        canceled_at = None
        if self._log.canceled:
            canceled_at = self._run.canceled_at or at
            if self._run.canceled_at is None:
                runner.note_cancel()
        self._run = replace(
            self._run,
            at=at,
            log=self._log,
            ordered=self._reporter.ordered,
            spot_at=self._workplace.spot_at(),
            canceled_at=canceled_at,
        )
        if self._run.ordered or self._run.spot_at is not None:
            self._run = replace(self._run, listens=self._listens(runner, at))
        stop = decide_stop(self._run)
        if stop:
            self._stop(runner, stop)

    def _listens(self, runner: RunOnce, at: datetime) -> bool:
        heard_before, self._is_heard = self._is_heard, runner.listens
        return hears_drain(
            heard_before=heard_before, hears=self._is_heard, started_at=self._started_at, at=at
        )

    def _stop(self, runner: RunOnce, stop: Stop) -> None:
        if stop.why in NOTICES:
            _write_notice(self._notice, f"\nrunner-fleet: {NOTICES[stop.why]}\n")
        runner.stop(stop.force)
        interrupted_at = self._run.interrupted_at
        if stop.force is Force.INTERRUPT:
            interrupted_at = self._run.at
        self._called_off = self._called_off or stop.why in CALLS_OFF
        drained_at = self._run.at if stop.force is Force.DRAIN else self._run.drained_at
        is_again = stop.force in self._run.used
        used = self._run.used | {stop.force}
        self._run = replace(
            self._run, used=used, drained_at=drained_at, interrupted_at=interrupted_at
        )
        if is_again:
            return
        drained = stop.force is Force.DRAIN and stop.why is Why.ORDERED
        name = StepName.DRAINED if drained else StepName.STOPPED
        self._reporter.step(name, job_id=self._log.job_id, detail=f"{stop.force}: {stop.why}")


def _read_name(path: Path) -> str | None:
    """The text of a file of a job, which may have put something else in its place."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(number, "rb") as file:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            return None
        return file.read(LONGEST_IMAGE).decode(errors="replace")


def _write_notice(path: Path, text: str) -> None:
    """Write a new file: in place of it, a job may have put a pipe without a reader."""
    with suppress(OSError):  # the job goes without the notice
        path.unlink(missing_ok=True)
        with path.open("x") as file:
            file.write(text)
