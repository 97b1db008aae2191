"""What may end a job before its script does, and how that is reported."""

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

_ALWAYS_KNOWN = ("script_failure", "runner_system_failure", "job_execution_timeout")


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
        self._timeout_s = timeout_s
        self.deadline = time.monotonic() + timeout_s
        self._is_canceling = False
        self._over: Over | None = None
        self._listeners: list[Callable[[], None]] = []

    def cancel(self) -> None:
        """GitLab says `canceling`: the script is to end, and after_script to run."""
        self._is_canceling = True
        self._wake()

    def abort(self) -> None:
        """GitLab says that the job is over."""
        self._over = self._over or Over("canceled", reason="job_canceled")
        self._wake()

    def interrupt(self, signal_name: str) -> None:
        """The runner's own process is to end."""
        said = f"aborted: {signal_name}"
        self._over = self._over or Over(said, reason="runner_interrupted")
        self._wake()

    def error(self, *, of_script: bool = False) -> BuildError | None:
        """How the job fails if it is to stop now, else None; `canceling` concerns the script."""
        if self._over is None and time.monotonic() >= self.deadline:
            took = f"execution took longer than {_go_duration(self._timeout_s)} seconds"
            self._over = Over(took, reason="job_execution_timeout")
        if self._over or not (of_script and self._is_canceling):
            return self._over
        return BuildError("canceled", reason="job_canceled")

    def check(self) -> None:
        """Raise `Over` when nothing more may be run."""
        error = self.error()
        if error:
            raise error

    @contextmanager
    def listening(self, wake: Callable[[], None]) -> Iterator[None]:
        """Have `wake` called at each new wish."""
        self._listeners.append(wake)
        try:
            yield
        finally:
            self._listeners.remove(wake)

    def _wake(self) -> None:
        for wake in tuple(self._listeners):
            wake()


def reason_for(failure: BuildError, *, known: Collection[str]) -> str:
    """Why a job failed, in a word this GitLab knows: an older one hears an older word."""
    older = {"runner_interrupted": "runner_system_failure"}.get(failure.reason, "")
    for word in (failure.reason, older):
        if word in _ALWAYS_KNOWN or word in known:
            return word
    return "unknown_failure"


def _go_duration(seconds: float) -> str:
    """Such as `1h0m0s`, the way the real runner writes it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
