"""Processes beside the pages' own that read the fleet.

Reading ten thousand jobs takes seconds of a processor, and Python runs one thread at a time: in the
pages' process a page would wait for it. There, only pictures and answers arrive.
"""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context, parent_process
from threading import Thread
from typing import Any

from fleet.errors import Transient
from monitor.questions import Sources

AT_ONCE = 3  # processes; each begins when it is needed first

Open = Callable[[], Sources]
_open: Open | None = None
_sources: Sources | None = None  # of this process


class ReaderProcesses:
    """Calls functions of `monitor.questions` in other processes.

    `open_sources` opens the fleet there: a function that can be pickled.
    """

    def __init__(self, open_sources: Open) -> None:
        self._open = open_sources
        self._pool = self._begin()
        self._is_ended = False

    def __call__(self, function: Callable[..., Any], *values: Any) -> Any:
        """The function's answer for these values. Raises what it raises."""
        try:
            return self._pool.submit(_answer, function, values).result()
        except BrokenProcessPool as error:  # the system ended a process, such as for its memory
            if not self._is_ended:
                self._pool = self._begin()
            raise Transient("a process that reads the fleet ended; the next try has another") from (
                error
            )

    def end(self) -> None:
        """End the processes; what they read is dropped."""
        self._is_ended = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in active_children():  # this process begins no others
            process.terminate()

    def _begin(self) -> ProcessPoolExecutor:
        # Not forked: this process has threads, and connections to AWS that no two may share.
        context = get_context("spawn")
        return ProcessPoolExecutor(AT_ONCE, context, _begin_to_answer, (self._open,))


def _begin_to_answer(open_sources: Open) -> None:
    global _open  # noqa: PLW0603 - a process of the pool has nothing else to keep it in
    _open = open_sources
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process ends us
    os.nice(5)  # the pages that a person waits for go first
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)


def _answer(function: Callable[..., Any], values: tuple[Any, ...]) -> Any:
    global _sources  # noqa: PLW0603 - the same
    if _sources is None:
        assert _open is not None
        _sources = _open()
    return function(_sources, *values)
