"""Runs a shell script to its end, or to an earlier one, in a process group of its own."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from local.stand_in.stops import BuildError, Stops

_GRACE_S = 300.0  # SIGTERM to SIGKILL; the real runner goes on without the script after as long
_REST_GRACE_S = 5.0  # the same for what the script left behind, once the shell itself is gone
_SILENCE_S = 1.0  # output of what was ended is waited for this long after the shell's end
_PIECE = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What may end a script early, and how it is named when its own time is over."""

    stops: Stops
    is_script: bool = False  # `canceling` ends it
    timeout_s: float | None = None
    on_timeout: BuildError | None = None


def run_shell(
    shell: Sequence[str], script: str, *, write: Callable[[bytes], None], scope: Scope
) -> int:
    """The exit code of a shell that reads `script`; a signal's is negative.

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
    return _Watch(child, write, scope).until_end()


class _Watch:
    """One child, its output, and the wishes to end it."""

    def __init__(
        self, child: subprocess.Popen[bytes], write: Callable[[bytes], None], scope: Scope
    ) -> None:
        assert child.stdout is not None
        self._child = child
        self._output = child.stdout
        self._write = write
        self._scope = scope
        self._woken, self._waker = os.pipe()
        self._deadline = scope.stops.deadline
        if scope.timeout_s is not None:
            self._deadline = min(self._deadline, time.monotonic() + scope.timeout_s)
        self._ended_at: float | None = None  # when the shell itself was seen to be gone
        self._kill_at: float | None = None  # set once the group was asked to end
        self._error: BuildError | None = None

    def until_end(self) -> int:
        waiter = threading.Thread(target=self._wait, daemon=True)
        try:
            with selectors.DefaultSelector() as selector, self._scope.stops.listening(self._wake):
                selector.register(self._output, selectors.EVENT_READ)
                selector.register(self._woken, selectors.EVENT_READ)
                waiter.start()
                self._end_if_wished()  # nobody tells again what was wished before
                while not self._is_finished(selector):
                    self._turn(selector)
            waiter.join()
        finally:
            self._output.close()
            os.close(self._woken)
            os.close(self._waker)
        if self._error:
            raise self._error
        return self._child.returncode

    def _wait(self) -> None:
        self._child.wait()
        self._ended_at = time.monotonic()
        self._wake()

    def _wake(self) -> None:
        with suppress(OSError):
            os.write(self._waker, b"!")

    def _turn(self, selector: selectors.BaseSelector) -> None:
        for key, _ in selector.select(self._patience_s()):
            data = os.read(key.fd, _PIECE)
            if key.fd == self._woken:
                continue
            if data:
                self._write(data)
            else:
                selector.unregister(self._output)
        if self._kill_at is None:
            self._end_if_wished()
        elif time.monotonic() >= self._kill_at:
            self._signal(signal.SIGKILL)

    def _patience_s(self) -> float | None:
        """How long nothing needs to be looked at."""
        if self._kill_at is not None:
            return 0.05
        return max(0.0, self._deadline - time.monotonic())

    def _end_if_wished(self) -> None:
        reason = self._scope.stops.reason(of_script=self._scope.is_script)
        if reason:
            self._error = self._scope.stops.error(reason)
        elif time.monotonic() >= self._deadline:
            self._error = self._scope.on_timeout
        if self._error:
            self._kill_at = time.monotonic() + _GRACE_S
            self._signal(signal.SIGTERM)

    def _is_finished(self, selector: selectors.BaseSelector) -> bool:
        if self._ended_at is None:
            return False
        # As the real runner, wait for whatever holds the output, also in the background.
        if self._kill_at is None:
            return self._output not in _files(selector)
        is_closed = self._output not in _files(selector)
        # Without output any more, what is left may well be dead and waiting to be looked at.
        patience_s = _SILENCE_S if is_closed else _REST_GRACE_S
        since = max(self._ended_at, self._kill_at - _GRACE_S)
        if time.monotonic() <= since + patience_s:
            return not self._signal(0)
        self._signal(signal.SIGKILL)
        return is_closed or time.monotonic() > since + patience_s + _SILENCE_S

    def _signal(self, number: int) -> bool:
        """Whether the group still had somebody to take the signal."""
        try:
            os.killpg(self._child.pid, number)
        except ProcessLookupError:
            return False
        return True


def _files(selector: selectors.BaseSelector) -> list[object]:
    return [key.fileobj for key in selector.get_map().values()]
