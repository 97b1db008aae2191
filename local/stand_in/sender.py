"""Brings a job's log and its state to GitLab, and brings back what GitLab wants of the job.

Source: gitlab-runner 17.9, `network/trace.go`.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from local.stand_in.gitlab import JobServer, Reply, Result
from local.stand_in.job import Job
from local.stand_in.stops import Stops
from local.stand_in.trace import Trace

_LARGEST_PATCH = 1024 * 1024
_TRIES = 10  # of the final state; the pause between two doubles
_TOUCH_AFTER_S = 30.0  # of silence


@dataclass(kw_only=True)
class Sender:
    """One job's log on its way; runs in a thread of its own until `finish`."""

    gitlab: JobServer
    job: Job
    trace: Trace
    stops: Stops
    interval_s: float  # between two pieces of log, until GitLab asks for another
    pause: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._current_s = self.interval_s
        self._offset = 0
        self._sent_at = self.clock()
        self._is_done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def finish(self, state: str, *, failure_reason: str = "", exit_code: int = 0) -> bool:
        """Send the rest and the final state; False when GitLab took neither."""
        self.trace.write("", is_end=True)
        self._is_done.set()
        self._thread.join()
        self._current_s = self.interval_s
        for attempt in range(_TRIES):
            if attempt:
                self.pause(2.0 ** (attempt - 1))
            if self._final_update(state, failure_reason, exit_code):
                return True
        return False

    def _watch(self) -> None:
        while not self._is_done.wait(self._current_s):
            if not self.step():
                return

    def step(self) -> bool:
        """Send what is new, or a sign of life; False when the job is over for GitLab."""
        result = self._patch()
        if result is Result.OK and self.clock() - self._sent_at > _TOUCH_AFTER_S:
            result = self._update("running")
        if result is Result.ABORT:
            self.stops.abort()
        return result is not Result.ABORT

    def _patch(self) -> Result:
        content = self.trace.read(self._offset, _LARGEST_PATCH)
        if not content:
            return Result.OK
        result, reply = self.gitlab.patch_trace(
            self.job, content, self._offset, is_debug=self.trace.is_debug
        )
        if result is Result.OK:
            self._offset += len(content)
        elif result is Result.MISMATCH:
            self._offset = reply.offset
        self._heed(reply, is_taken=result in {Result.OK, Result.MISMATCH})
        return result

    def _update(self, state: str, failure_reason: str = "", exit_code: int = 0) -> Result:
        output = {"checksum": self.trace.checksum, "bytesize": self.trace.size}
        result, reply = self.gitlab.update_job(
            self.job, state, output, failure_reason=failure_reason, exit_code=exit_code
        )
        self._heed(reply, is_taken=result is Result.OK)
        return result

    def _heed(self, reply: Reply, *, is_taken: bool) -> None:
        if is_taken:
            self._sent_at = self.clock()
        self._current_s = reply.interval_s or self._current_s
        if reply.is_canceling:
            self.stops.cancel()

    def _final_update(self, state: str, failure_reason: str, exit_code: int) -> bool:
        """One try: all of the log, then the state. False when it is worth another."""
        while self._send_rest():
            result = self._update(state, failure_reason, exit_code)
            if result in {Result.OK, Result.ABORT}:
                return True
            if result is Result.INVALID:
                self._offset = 0
            self.pause(self._current_s)
            if result is Result.FAILED:
                return False
        return False

    def _send_rest(self) -> bool:
        while self._offset < self.trace.size:
            result = self._patch()
            if result in {Result.ABORT, Result.NOT_FOUND}:
                return True
            if result is not Result.OK:
                self.pause(self._current_s)
            if result is Result.FAILED:
                return False
        return True
