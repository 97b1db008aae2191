"""Brings a job's log and its state to GitLab, and brings back what GitLab wants of the job.

Source: gitlab-runner 17.9, `network/trace.go`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from local.stand_in.job import Job
from local.stand_in.protocol import JobState, PatchState, Said, UpdateState
from local.stand_in.trace import Trace

_LARGEST_PATCH = 1024 * 1024
_FIRST_BACKOFF_S = 1.0
_LONGEST_BACKOFF_S = 3600.0


class TalksToGitLab(Protocol):
    """The two calls a sender makes."""

    def update_job(self, job: Job, state: JobState) -> tuple[UpdateState, Said]:
        """Tell how far the job is."""

    def patch_trace(
        self, job: Job, content: bytes, start: int, *, is_debug: bool = False
    ) -> tuple[PatchState, int, Said]:
        """Send a piece of log."""


class Wants(Protocol):
    """What GitLab may want of a running job."""

    def cancel(self) -> None:
        """End the script, then run after_script."""

    def abort(self) -> None:
        """End everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long to wait, and how often to try."""

    tries: int = 10  # of the final state
    interval_s: float = 3.0  # between two pieces of log, until GitLab asks for another
    touch_after_s: float = 30.0  # of silence
    pause: Callable[[float], None] = time.sleep


class Sender:
    """One job's log on its way; runs in a thread of its own until `finish`."""

    def __init__(
        self,
        coordinator: TalksToGitLab,
        job: Job,
        trace: Trace,
        *,
        wants: Wants,
        pace: Pace,
    ) -> None:
        self._coordinator = coordinator
        self._job = job
        self._trace = trace
        self._wants = wants
        self._pace = pace
        self._interval_s = self._pace.interval_s
        self._offset = 0
        self._sent_at = time.monotonic()
        self._is_done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def finish(self, state: str, *, failure_reason: str = "", exit_code: int = 0) -> bool:
        """Send the rest and the final state; False when GitLab could not be told."""
        self._trace.finish()
        self._is_done.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._interval_s = self._pace.interval_s
        backoff_s = _FIRST_BACKOFF_S
        for left in range(self._pace.tries, 0, -1):
            if self._final_update(state, failure_reason, exit_code):
                return True
            if left > 1:
                self._pace.pause(backoff_s)
                backoff_s = min(backoff_s * 2, _LONGEST_BACKOFF_S)
        return False

    def _watch(self) -> None:
        while not self._is_done.wait(self._interval_s):
            if not self.step():
                return

    def step(self) -> bool:
        """Send what is new, or a sign of life; False when the job is over for GitLab."""
        state = self._patch()
        is_silent = time.monotonic() - self._sent_at > self._pace.touch_after_s
        if state is PatchState.SUCCEEDED and is_silent:
            state = PatchState.ABORT if self._update("running") is UpdateState.ABORT else state
        if state is PatchState.ABORT:
            self._wants.abort()
        return state is not PatchState.ABORT

    def _patch(self) -> PatchState:
        content = self._trace.read(self._offset, _LARGEST_PATCH)
        if not content:
            return PatchState.SUCCEEDED
        state, self._offset, said = self._coordinator.patch_trace(
            self._job, content, self._offset, is_debug=self._trace.is_debug
        )
        self._hear(said)
        if state in {PatchState.SUCCEEDED, PatchState.RANGE_MISMATCH}:
            self._sent_at = time.monotonic()
        return state

    def _update(self, state: str, failure_reason: str = "", exit_code: int = 0) -> UpdateState:
        told = JobState(
            state=state,
            checksum=self._trace.checksum,
            bytesize=self._trace.size,
            failure_reason=failure_reason,
            exit_code=exit_code,
        )
        result, said = self._coordinator.update_job(self._job, told)
        self._hear(said)
        if result is UpdateState.SUCCEEDED:
            self._sent_at = time.monotonic()
        return result

    def _hear(self, said: Said) -> None:
        if said.interval_s is not None:
            self._interval_s = said.interval_s
        if said.is_canceling:
            self._wants.cancel()

    def _final_update(self, state: str, failure_reason: str, exit_code: int) -> bool:
        """One try: all of the log, then the state. False when it is worth another."""
        while self._send_rest():
            result = self._update(state, failure_reason, exit_code)
            if result in {UpdateState.SUCCEEDED, UpdateState.ABORT}:
                return True
            if result is UpdateState.TRACE_INVALID:
                self._offset = 0
            self._pace.pause(self._interval_s)
            if result is UpdateState.FAILED:
                return False
        return False

    def _send_rest(self) -> bool:
        while self._offset < self._trace.size:
            state = self._patch()
            if state in {PatchState.ABORT, PatchState.NOT_FOUND}:
                return True
            if state is not PatchState.SUCCEEDED:
                self._pace.pause(self._interval_s)
            if state is PatchState.FAILED:
                return False
        return True
