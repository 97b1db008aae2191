"""`run-single`: asks for jobs and runs them one after another.

Source: gitlab-runner 17.9, `commands/single.go`.
"""

import secrets
import signal
import threading
import time
from types import FrameType

from local.stand_in.build import Build
from local.stand_in.config import RunnerOptions
from local.stand_in.gitlab import JobServer
from local.stand_in.log import fatal, say

_UNHEALTHY_PAUSE_S = 300.0
_SHUTDOWN_LIMIT_S = 30.0
_LOOK_EVERY_S = 0.1


class RunSingle:
    """One runner process from start to end, which a limit or a signal brings."""

    def __init__(self, runner: RunnerOptions, pause_s: float) -> None:
        self._runner, self._pause_s = runner, pause_s
        self._gitlab = JobServer(runner, system_id=f"r_{secrets.token_hex(6)}")
        self._is_finished = False
        self._is_ending = False
        self._build: Build | None = None

    def run(self, *, max_builds: int, wait_timeout_s: int) -> None:
        """Return when the process ends with code 0. Limits of 0 are none."""
        # Before the line by which others know that the process hears signals.
        for number in (signal.SIGQUIT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        shown = f"{self._runner.url} with token {self._runner.short_token}"
        say("info", f"Starting runner for {shown} ...")
        idle_since, builds = time.monotonic(), 0
        while not self._is_finished:
            if self._serve_next_job():
                idle_since, builds = time.monotonic(), builds + 1
            if 0 < max_builds <= builds:
                self._finish("has processed its build limit")
            if 0 < wait_timeout_s < int(time.monotonic() - idle_since):
                self._finish(f"has not received a job in {wait_timeout_s} seconds")

    def _finish(self, why: str) -> None:
        say("info", f"This runner {why}, so now exiting")
        self._is_finished = True

    def _serve_next_job(self) -> bool:
        """Whether GitLab had a job; without one this waits before the next question."""
        job, is_healthy = self._gitlab.request_job()
        if job is not None:
            self._build = Build(job, self._runner, self._gitlab)
            if self._is_ending:  # the signal arrived between the job and this line
                self._interrupt()
            self._build.run(self._pause_s)
            self._build = None
        elif is_healthy:
            self._rest(self._pause_s)
        else:
            say("info", "Runner is not healthy!")
            self._rest(_UNHEALTHY_PAUSE_S)
        return job is not None

    def _rest(self, seconds: float) -> None:
        """Wait until the time is over or a signal has arrived."""
        until = time.monotonic() + seconds
        while not self._is_finished and time.monotonic() < until:
            time.sleep(_LOOK_EVERY_S)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Runs in the main thread, in the middle of anything."""
        self._is_finished = True
        if self._is_ending:
            fatal("forced exit: terminated")
        elif number == signal.SIGQUIT:
            say("warning", "Requested quit, waiting for builds to finish")
        else:
            self._is_ending = True
            say("warning", "Requested exit: terminated")
            limit = threading.Timer(_SHUTDOWN_LIMIT_S, fatal, ["shutdown timed out"])
            limit.daemon = True
            limit.start()
            self._interrupt()

    def _interrupt(self) -> None:
        if self._build is not None:
            self._build.stops.end("aborted: terminated", reason="runner_system_failure")
