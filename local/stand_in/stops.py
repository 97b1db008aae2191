"""What may end a job before its script does, and how that is told."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

_ALWAYS_KNOWN = ("script_failure", "runner_system_failure", "job_execution_timeout")
_OLDER_NAMES = {
    "runner_interrupted": "runner_system_failure",
    "image_pull_failure": "runner_system_failure",
    "runner_configuration_error": "runner_system_failure",
}


class StopReason(enum.Enum):
    """Why something has to end."""

    CANCELING = "GitLab wants the script to end, and after_script to run"
    CANCELED = "GitLab wants everything to end"
    INTERRUPTED = "the runner was told to end"
    TIMED_OUT = "the job's time is over"


class BuildError(Exception):
    """The job failed; the message is for its log."""

    def __init__(self, message: str, *, reason: str = "script_failure", exit_code: int = 0) -> None:
        super().__init__(message)
        self.reason = reason
        self.exit_code = exit_code


class Over(BuildError):
    """The job failed in a way that leaves nothing to be run any more."""


class Stops:
    """Collects the wishes to stop one job, from any thread or signal handler.

    Nothing here takes a lock: a signal handler runs in the middle of the main thread.
    """

    def __init__(self, *, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.deadline = time.monotonic() + timeout_s
        self._is_canceling = False
        self._is_over: StopReason | None = None
        self._signal = ""
        self._listeners: list[Callable[[], None]] = []

    def cancel(self) -> None:
        """GitLab says `canceling`."""
        self._is_canceling = True
        self._tell()

    def abort(self) -> None:
        """GitLab says that the job is over."""
        self._is_over = self._is_over or StopReason.CANCELED
        self._tell()

    def interrupt(self, signal_name: str) -> None:
        """The runner's own process is to end."""
        self._signal = signal_name
        self._is_over = self._is_over or StopReason.INTERRUPTED
        self._tell()

    def reason(self, *, of_script: bool = False) -> StopReason | None:
        """Why to stop now, or None; `canceling` concerns the script alone."""
        if self._is_over:
            return self._is_over
        if time.monotonic() >= self.deadline:
            return StopReason.TIMED_OUT
        return StopReason.CANCELING if of_script and self._is_canceling else None

    def check(self) -> None:
        """Raise `Over` when nothing more may be run."""
        reason = self.reason()
        if reason:
            raise self.error(reason)

    def error(self, reason: StopReason) -> BuildError:
        """How a job that was stopped for this reason failed."""
        if reason is StopReason.CANCELING:
            return BuildError("canceled", reason="job_canceled")
        if reason is StopReason.CANCELED:
            return Over("canceled", reason="job_canceled")
        if reason is StopReason.INTERRUPTED:
            return Over(f"aborted: {self._signal}", reason="runner_interrupted")
        took = f"execution took longer than {go_duration(self.timeout_s)} seconds"
        return Over(took, reason="job_execution_timeout")

    @contextmanager
    def listening(self, wake: Callable[[], None]) -> Iterator[None]:
        """Have `wake` called at each new wish."""
        self._listeners.append(wake)
        try:
            yield
        finally:
            self._listeners.remove(wake)

    def _tell(self) -> None:
        for wake in tuple(self._listeners):
            wake()


def reason_for(failure: BuildError, *, known: Collection[str]) -> str:
    """Why a job failed, in a word this GitLab knows: newer words have older ones."""
    for word in (failure.reason, _OLDER_NAMES.get(failure.reason, "")):
        if word in _ALWAYS_KNOWN or word in known:
            return word
    return "unknown_failure"


def go_duration(seconds: float) -> str:
    """Such as `1h0m0s`, the way the real runner writes it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
