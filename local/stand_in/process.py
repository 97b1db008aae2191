"""Runs a shell script to its end, or to an earlier one, in a process group of its own."""

import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

from local.stand_in.stops import BuildError, Stops

_GRACE_S = 300.0  # SIGTERM to SIGKILL; the real runner goes on without the script after as long
_REST_GRACE_S = 5.0  # the same for what the script left behind, once the shell itself is gone
_SILENCE_S = 1.0  # without output what is left may well be dead and waiting for its parent
_PIECE = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptLimits:
    """What may end a script early, and how it fails when its own time is over."""

    stops: Stops
    is_script: bool = False  # `canceling` ends it
    timeout_s: float | None = None
    on_timeout: BuildError | None = None


def run_shell(
    shell: Sequence[str], script: str, *, write: Callable[[bytes], None], scope: ScriptLimits
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
    assert child.stdout is not None
    wakes: queue.SimpleQueue[None] = queue.SimpleQueue()  # a signal handler may put into it
    ends = (child, child.stdout, write, wakes)
    reader = threading.Thread(target=_read_to_end, args=ends, daemon=True)
    reader.start()
    deadline = scope.stops.deadline
    if scope.timeout_s is not None:
        deadline = min(deadline, time.monotonic() + scope.timeout_s)
    with scope.stops.listening(lambda: wakes.put(None)):
        while child.returncode is None:  # the reader sets it, after the last of the output
            error = scope.stops.error(of_script=scope.is_script)
            if error is None and time.monotonic() >= deadline:
                error = scope.on_timeout
            if error:
                _end(child, reader)
                raise error
            try:
                wakes.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                continue
    return child.returncode


def _read_to_end(
    child: subprocess.Popen[bytes],
    output: IO[bytes],
    write: Callable[[bytes], None],
    wakes: queue.SimpleQueue[None],
) -> None:
    with output:
        while piece := os.read(output.fileno(), _PIECE):
            write(piece)
    child.wait()
    wakes.put(None)


def _end(child: subprocess.Popen[bytes], reader: threading.Thread) -> None:
    """End the group: ask it, give the shell its time and the rest a short one, then kill."""
    _signal(child, signal.SIGTERM)
    _wait_for(lambda: child.poll() is not None, _GRACE_S)
    _wait_for(lambda: not (reader.is_alive() and _signal(child, 0)), _REST_GRACE_S)
    _wait_for(lambda: not _signal(child, 0), _SILENCE_S)
    _signal(child, signal.SIGKILL)
    child.wait()
    reader.join(_SILENCE_S)


def _signal(child: subprocess.Popen[bytes], number: int) -> bool:
    """Whether the group still had a process to take the signal."""
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return False
    return True


def _wait_for(claim: Callable[[], bool], within_s: float) -> None:
    give_up = time.monotonic() + within_s
    while not claim() and time.monotonic() < give_up:
        time.sleep(0.02)
