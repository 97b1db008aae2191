"""`run-single`: ask for jobs and run them one after another, until told or entitled to end.

Source: gitlab-runner 17.9, `commands/single.go`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType

from local.stand_in.build import Build, Surroundings, find_places
from local.stand_in.job import Job
from local.stand_in.log import Log
from local.stand_in.options import Options, RunnerOptions, UsageError
from local.stand_in.protocol import Coordinator
from local.stand_in.sender import Pace, Sender
from local.stand_in.stops import BuildError, Stops, reason_for
from local.stand_in.trace import Trace
from local.stand_in.variables import Variables, job_variables
from local.stand_in.wire import Wire

_SIGNAL_NAMES = {signal.SIGTERM: "terminated", signal.SIGINT: "interrupt"}


class RunSingle:
    """One runner process from start to end."""

    def __init__(self, options: Options, *, system_id: str, log: Log) -> None:
        self._options = options
        self._system_id = system_id
        self._log = log
        wire = Wire(options.runner.url, tls_ca_file=options.runner.tls_ca_file)
        self._coordinator = Coordinator(options.runner, system_id=system_id, wire=wire, log=log)
        self._builds_left = options.max_builds
        self._is_finished = False
        self._is_ending = False
        self._stops: Stops | None = None
        self._woken, self._waker = os.pipe()

    def run(self) -> None:
        """Return when the process is to end with code 0."""
        runner = self._options.runner
        # Before the line that tells others that signals are heard from now on.
        for number in (signal.SIGQUIT, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._log.info(f"Starting runner for {runner.url} with token {runner.short_token} ...")
        idle_since = time.monotonic()
        while not self._is_finished:
            if self._take_one():
                idle_since = time.monotonic()
            self._finish_if_entitled(time.monotonic() - idle_since)

    def _finish_if_entitled(self, idle_s: float) -> None:
        if self._options.max_builds and self._builds_left < 1:
            self._log.info("This runner has processed its build limit, so now exiting")
            self._is_finished = True
        limit_s = self._options.wait_timeout_s
        if 0 < limit_s < int(idle_s):
            said = f"This runner has not received a job in {limit_s} seconds, so now exiting"
            self._log.info(said)
            self._is_finished = True

    def _take_one(self) -> bool:
        """Whether there was a job; without one this waits before the next question."""
        job, is_healthy = self._coordinator.request_job()
        if not is_healthy:
            self._log.info("Runner is not healthy!")
            self._rest(self._options.unhealthy_pause_s)
        elif job is None:
            self._rest(self._options.poll_pause_s)
        else:
            self._process(job)
            self._builds_left -= 1
        return job is not None

    def _rest(self, seconds: float) -> None:
        """Wait, unless a signal came or comes."""
        import select  # noqa: PLC0415 - built in, and only idle runners need it

        if not self._is_finished:
            select.select([self._woken], [], [], seconds)

    def _process(self, job: Job) -> None:
        """Run one job and tell GitLab how it went."""
        runner = self._options.runner
        started = time.monotonic()
        places = find_places(job, runner, working_dir=os.getcwd())
        variables = job_variables(job, runner, places)
        trace = _trace(job, variables, runner)
        self._stops = stops = Stops(timeout_s=job.timeout_s)
        if self._is_ending:  # the signal came between the job and this line
            stops.interrupt("terminated")
        pace = Pace(tries=runner.final_update_retry_limit, interval_s=self._options.trace_pause_s)
        sender = Sender(self._coordinator, job, trace, wants=stops, pace=pace)
        sender.start()
        around = Surroundings(
            runner=runner,
            system_id=self._system_id,
            coordinator=self._coordinator,
            trace=trace,
            stops=stops,
        )
        failure = _outcome(Build(job, around, places, variables))
        self._report(job, failure, time.monotonic() - started, trace)
        self._submit(job, failure, sender)
        self._stops = None

    def _submit(self, job: Job, failure: BuildError | None, sender: Sender) -> None:
        if failure is None:
            was_told = sender.finish("success")
        else:
            reason = reason_for(failure, known=job.failure_reasons)
            was_told = sender.finish("failed", failure_reason=reason, exit_code=failure.exit_code)
        if not was_told:
            end = "Fail" if failure else "Success"
            self._log.error(f'Job trace termination "{end}" failed', {"job": job.id})
        if failure is not None:
            self._log.error("Failed to process build", {"error": str(failure)})

    def _report(self, job: Job, failure: BuildError | None, took_s: float, trace: Trace) -> None:
        """The job's last line, in its own log and in the process's."""
        fields = {
            "duration_s": took_s,
            "job": job.id,
            "project": job.project_id,
            "runner": self._options.runner.short_token,
        }
        if failure is None:
            trace.write("\033[32;1mJob succeeded\033[0;m\n")
            self._log.info("Job succeeded", fields)
            return
        is_system = failure.reason in {"runner_system_failure", "runner_interrupted"}
        said = f"Job failed{' (system failure)' if is_system else ''}: {failure}"
        trace.write(f"\033[31;1mERROR: {said}\n\033[0;m\n")
        self._log.warning(f"{said}\n", fields)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Runs in the main thread, in the middle of anything."""
        self._is_finished = True
        if number == signal.SIGQUIT and not self._is_ending:
            self._log.warning("Requested quit, waiting for builds to finish")
        elif self._is_ending:
            name = _SIGNAL_NAMES.get(signal.Signals(number), signal.Signals(number).name)
            self._log.fatal(f"forced exit: {name}")
        else:
            self._is_ending = True
            name = _SIGNAL_NAMES[signal.Signals(number)]
            self._log.warning(f"Requested exit: {name}")
            limit = threading.Timer(self._options.shutdown_limit_s, self._give_up)
            limit.daemon = True
            limit.start()
            if self._stops is not None:
                self._stops.interrupt(name)
        os.write(self._waker, b"!")

    def _give_up(self) -> None:
        self._log.fatal("shutdown timed out")


def _trace(job: Job, variables: Variables, runner: RunnerOptions) -> Trace:
    trace = Trace(
        secrets=[variable.value for variable in variables if variable.masked],
        token_prefixes=job.token_prefixes,
        limit_bytes=(runner.output_limit_kib or 4096) * 1024,
    )
    is_debug = variables.flag("CI_DEBUG_TRACE", absent=False)
    trace.is_debug = is_debug and not runner.debug_trace_disabled
    return trace


def _outcome(build: Build) -> BuildError | None:
    """How the job failed; trouble of the runner's own counts as a failure of the system."""
    try:
        return build.run()
    except (OSError, UsageError) as exc:
        return BuildError(str(exc), reason="runner_system_failure")
