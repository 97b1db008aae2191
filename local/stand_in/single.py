"""`run-single`: asks for jobs and runs them one after another, until a limit or a signal ends it.

Source: gitlab-runner 17.9, `commands/single.go`.
"""

import os
import select
import signal
import threading
import time
from dataclasses import dataclass
from types import FrameType

from local.stand_in.build import Build, find_places
from local.stand_in.config import RunnerOptions
from local.stand_in.gitlab import JobServer
from local.stand_in.job import Job
from local.stand_in.log import Log
from local.stand_in.shell import BuildError, Stops, reason_for
from local.stand_in.trace import Sender, Trace
from local.stand_in.variables import job_variables

_SIGNAL_NAMES = {signal.SIGTERM: "terminated", signal.SIGINT: "interrupt"}
_UNHEALTHY_PAUSE_S = 300.0
_SHUTDOWN_LIMIT_S = 30.0
_USUAL_TIMEOUT_S = 7200


@dataclass(kw_only=True)
class RunSingle:
    """One runner process from start to end. Limits of 0 are none."""

    runner: RunnerOptions
    max_builds: int
    wait_timeout_s: int
    poll_s: float
    trace_s: float
    system_id: str
    log: Log

    def __post_init__(self) -> None:
        self._gitlab = JobServer(self.runner, system_id=self.system_id, log=self.log)
        self._is_finished = False
        self._is_ending = False
        self._stops: Stops | None = None
        self._woken, self._waker = os.pipe()

    def run(self) -> None:
        """Return when the process ends with code 0."""
        # Before the line by which others know that the process hears signals.
        for number in (signal.SIGQUIT, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        shown = f"{self.runner.url} with token {self.runner.short_token}"
        self.log.say("info", f"Starting runner for {shown} ...")
        idle_since, builds = time.monotonic(), 0
        while not self._is_finished:
            if self._take_one():
                idle_since, builds = time.monotonic(), builds + 1
            if 0 < self.max_builds <= builds:
                self._finish("has processed its build limit")
            if 0 < self.wait_timeout_s < int(time.monotonic() - idle_since):
                self._finish(f"has not received a job in {self.wait_timeout_s} seconds")

    def _finish(self, why: str) -> None:
        self.log.say("info", f"This runner {why}, so now exiting")
        self._is_finished = True

    def _take_one(self) -> bool:
        """Whether GitLab had a job; without one this waits before the next question."""
        job, is_healthy = self._gitlab.request_job()
        if not is_healthy:
            self.log.say("info", "Runner is not healthy!")
            self._rest(_UNHEALTHY_PAUSE_S)
        elif job is None:
            self._rest(self.poll_s)
        else:
            self._process(job)
        return job is not None

    def _rest(self, seconds: float) -> None:
        """Wait until the time is over or a signal arrives."""
        if not self._is_finished:
            select.select([self._woken], [], [], seconds)

    def _process(self, job: Job) -> None:
        """Run one job and send its end to GitLab."""
        started = time.monotonic()
        timeout_s = job.runner_info.timeout or _USUAL_TIMEOUT_S
        places = find_places(job, self.runner, working_dir=os.getcwd())
        variables = job_variables(job, self.runner, places, timeout_s)
        trace = Trace(
            secrets=[variable.value for variable in variables if variable.masked],
            token_prefixes=job.features.token_mask_prefixes,
            limit_bytes=self.runner.output_limit * 1024,
        )
        if self.runner.feature_flags.ff_log_images_configured_for_job:
            self._log_images(job)
        self._stops = stops = Stops(timeout_s=timeout_s)
        if self._is_ending:  # a signal arrived between the job and this line
            stops.interrupt("terminated")
        sender = Sender(
            gitlab=self._gitlab, job=job, trace=trace, stops=stops, interval_s=self.trace_s
        )
        build = Build(
            job=job,
            runner=self.runner,
            gitlab=self._gitlab,
            places=places,
            variables=variables,
            trace=trace,
            stops=stops,
        )
        failure = build.run(self.system_id)
        self._report(job, failure, time.monotonic() - started, trace)
        if failure is None:
            sender.finish("success")
        else:
            reason = reason_for(failure, known=job.features.failure_reasons)
            sender.finish("failed", failure_reason=reason, exit_code=failure.exit_code)
        self._stops = None

    def _log_images(self, job: Job) -> None:
        of_job = [("Image", job.image)] if job.image.name else []
        for what, image in (*of_job, *(("Service image", one) for one in job.services)):
            self.log.say(
                "info",
                f"{what} configured for job",
                image_name=image.name,
                job=job.id,
                project=job.job_info.project_id,
                runner=self.runner.short_token,
            )

    def _report(
        self, job: Job, failure: BuildError | None, duration_s: float, trace: Trace
    ) -> None:
        """The job's last line, in its own log and in the process's."""
        log = self.log.having(
            duration_s=duration_s,
            job=job.id,
            project=job.job_info.project_id,
            runner=self.runner.short_token,
        )
        if failure is None:
            trace.write("\033[32;1mJob succeeded\033[0;m\n")
            log.say("info", "Job succeeded")
            return
        is_system = failure.reason in {"runner_system_failure", "runner_interrupted"}
        line = f"Job failed{' (system failure)' if is_system else ''}: {failure}"
        trace.write(f"\033[31;1mERROR: {line}\n\033[0;m\n")
        log.say("warning", f"{line}\n")

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Runs in the main thread, in the middle of anything."""
        self._is_finished = True
        name = _SIGNAL_NAMES.get(signal.Signals(number), signal.Signals(number).name)
        if number == signal.SIGQUIT and not self._is_ending:
            self.log.say("warning", "Requested quit, waiting for builds to finish")
        elif self._is_ending:
            self.log.fatal(f"forced exit: {name}")
        else:
            self._is_ending = True
            self.log.say("warning", f"Requested exit: {name}")
            limit = threading.Timer(_SHUTDOWN_LIMIT_S, self.log.fatal, ["shutdown timed out"])
            limit.daemon = True
            limit.start()
            if self._stops is not None:
                self._stops.interrupt(name)
        os.write(self._waker, b"!")
