"""Runs a shell script to its end, or to an earlier one, in a process group of its own."""

import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Sequence

_ALWAYS_KNOWN = ("script_failure", "runner_system_failure", "job_execution_timeout")
_GRACE_S = 300.0  # SIGTERM to SIGKILL; the real runner goes on without the script after as long
_REST_GRACE_S = 5.0  # the same for what the script left behind, once the shell itself is gone
_SILENCE_S = 1.0  # without output what is left may well be dead and waiting for its parent
_PIECE = 64 * 1024


class BuildError(Exception):
    """The job failed; the message is for its log."""

    def __init__(self, message: str, *, reason: str = "script_failure", exit_code: int = 0) -> None:
        super().__init__(message)
        self.reason = reason
        self.exit_code = exit_code

    def reason_for(self, known: Collection[str]) -> str:
        """Why, in a word this GitLab knows: an older GitLab gets an older word."""
        older = {"runner_interrupted": "runner_system_failure"}.get(self.reason, "")
        words = (word for word in (self.reason, older) if word in (*_ALWAYS_KNOWN, *known))
        return next(words, "unknown_failure")


class Over(BuildError):
    """The job failed, and none of it may run any more."""


class Stops:
    """The requests to stop one job, from any thread or signal handler.

    Nothing here takes a lock: a signal handler runs in the middle of the main thread.
    """

    def __init__(self, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self.deadline = time.monotonic() + timeout_s
        self._is_canceling = False
        self._over: Over | None = None
        self.wakes: queue.SimpleQueue[None] = queue.SimpleQueue()  # an item for each request

    def cancel(self) -> None:
        """GitLab says `canceling`: the script ends, and after_script runs."""
        self._is_canceling = True
        self.wakes.put(None)

    def abort(self) -> None:
        """GitLab says that the job is over."""
        self._end(Over("canceled", reason="job_canceled"))

    def interrupt(self, signal_name: str) -> None:
        """A signal ends the runner's own process."""
        self._end(Over(f"aborted: {signal_name}", reason="runner_interrupted"))

    def check(self, *, of_script: bool = False) -> None:
        """Raise how the job fails if it stops now; `canceling` stops the script only."""
        if self._over is None and time.monotonic() >= self.deadline:
            took = f"execution took longer than {self._timeout_s:.0f}s seconds"
            self._over = Over(took, reason="job_execution_timeout")
        if self._over:
            raise self._over
        if of_script and self._is_canceling:
            raise BuildError("canceled", reason="job_canceled")

    def _end(self, over: Over) -> None:
        self._over = self._over or over
        self.wakes.put(None)


def run_shell(
    shell: Sequence[str],
    script: str,
    *,
    write: Callable[[bytes], None],
    stops: Stops,
    is_script: bool,
) -> int:
    """The exit code of a shell that reads `script`; a signal's is negative.

    Returns when the shell has ended and nothing holds its output any more, also in the background.
    The shell gets this process's whole environment, as the real shell executor's does. Raises
    the error of what ended it early, after the process group has ended.
    """
    with tempfile.TemporaryFile() as source:
        source.write(script.encode())
        source.seek(0)
        child = subprocess.Popen(
            shell,
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    reader = threading.Thread(target=_read_to_end, args=(child, write, stops), daemon=True)
    reader.start()
    while child.returncode is None:  # the reader sets it, after the last of the output
        try:
            stops.check(of_script=is_script)
        except BuildError:
            _end(child, reader)
            raise
        try:
            stops.wakes.get(timeout=max(0.0, stops.deadline - time.monotonic()))
        except queue.Empty:
            continue
    return child.returncode


def _read_to_end(
    child: subprocess.Popen[bytes], write: Callable[[bytes], None], stops: Stops
) -> None:
    assert child.stdout is not None
    with child.stdout as output:
        while piece := os.read(output.fileno(), _PIECE):
            write(piece)
    child.wait()
    stops.wakes.put(None)


def _end(child: subprocess.Popen[bytes], reader: threading.Thread) -> None:
    """End the group: ask it, give the shell its time and the rest a short one, then kill."""
    group = child.pid
    _signal(group, signal.SIGTERM)
    _wait_for(lambda: child.poll() is not None, _GRACE_S)
    _wait_for(lambda: not (reader.is_alive() and _signal(group, 0)), _REST_GRACE_S)
    _wait_for(lambda: not _signal(group, 0), _SILENCE_S)
    _signal(group, signal.SIGKILL)
    child.wait()
    reader.join(_SILENCE_S)


def _signal(group: int, number: int) -> bool:
    """Whether the group still had a process to take the signal."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _wait_for(claim: Callable[[], bool], within_s: float) -> None:
    limit = time.monotonic() + within_s
    while not claim() and time.monotonic() < limit:
        time.sleep(0.02)
