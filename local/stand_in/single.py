"""`run-single`: asks for jobs and runs them one after another, until a limit or a signal ends it.

Source: gitlab-runner 17.9, `commands/single.go`.
"""

import os
import secrets
import select
import signal
import threading
import time
from dataclasses import dataclass, field
from types import FrameType

from local.stand_in.build import Build
from local.stand_in.config import RunnerOptions
from local.stand_in.gitlab import JobServer
from local.stand_in.log import Log

_SIGNAL_NAMES = {signal.SIGTERM: "terminated", signal.SIGINT: "interrupt"}
_UNHEALTHY_PAUSE_S = 300.0
_SHUTDOWN_LIMIT_S = 30.0


@dataclass(kw_only=True)
class RunSingle:
    """One runner process from start to end. Limits of 0 are none."""

    runner: RunnerOptions
    max_builds: int
    wait_timeout_s: int
    poll_s: float
    trace_s: float
    log: Log = field(default_factory=Log)

    def __post_init__(self) -> None:
        self._gitlab = JobServer(self.runner, system_id=f"r_{secrets.token_hex(6)}", log=self.log)
        self._is_finished = False
        self._is_ending = False
        self._build: Build | None = None
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
            if self._serve_next_job():
                idle_since, builds = time.monotonic(), builds + 1
            if 0 < self.max_builds <= builds:
                self._finish("has processed its build limit")
            if 0 < self.wait_timeout_s < int(time.monotonic() - idle_since):
                self._finish(f"has not received a job in {self.wait_timeout_s} seconds")

    def _finish(self, why: str) -> None:
        self.log.say("info", f"This runner {why}, so now exiting")
        self._is_finished = True

    def _serve_next_job(self) -> bool:
        """Whether GitLab had a job; without one this waits before the next question."""
        job, is_healthy = self._gitlab.request_job()
        if job is not None:
            self._build = Build(job, self.runner, self._gitlab, self.log)
            if self._is_ending:  # a signal arrived between the job and this line
                self._build.stops.interrupt("terminated")
            self._build.run(self.trace_s)
            self._build = None
        elif is_healthy:
            self._rest(self.poll_s)
        else:
            self.log.say("info", "Runner is not healthy!")
            self._rest(_UNHEALTHY_PAUSE_S)
        return job is not None

    def _rest(self, seconds: float) -> None:
        """Wait until the time is over or a signal arrives."""
        if not self._is_finished:
            select.select([self._woken], [], [], seconds)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Runs in the main thread, in the middle of anything."""
        self._is_finished = True
        name = _SIGNAL_NAMES.get(signal.Signals(number), signal.Signals(number).name)
        if self._is_ending:
            self.log.fatal(f"forced exit: {name}")
        elif number == signal.SIGQUIT:
            self.log.say("warning", "Requested quit, waiting for builds to finish")
        else:
            self._is_ending = True
            self.log.say("warning", f"Requested exit: {name}")
            limit = threading.Timer(_SHUTDOWN_LIMIT_S, self.log.fatal, ["shutdown timed out"])
            limit.daemon = True
            limit.start()
            if self._build is not None:
                self._build.stops.interrupt(name)
        os.write(self._waker, b"!")
