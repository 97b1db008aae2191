"""Answers that take seconds, such as a month of history: read in the background, kept, read again.

A page waits a twentieth of a second at most; then it shows the last answer, or says that one is
being read.
"""

from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from threading import Event, Lock
from typing import Any

from fleet.errors import FleetError

# Answers in memory at most: one more drops the answer whose question was asked longest ago.
KEPT_AT_MOST = 40
AT_ONCE = 3
PATIENCE_S = 0.05

Run = Callable[[Callable[[], None]], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """The last answer to one question. `value` is None until the first one."""

    value: Any = None
    version: Hashable = None  # of what it was computed from
    at: datetime | None = None  # when it was asked
    is_reading: bool = False  # it is being read again
    failed: str = ""  # why the last try gave no answer


class Readings:
    """The last answers by question. `run` starts a function at once or later, in any thread.

    `patience_s`: how long a call waits for an answer that is being read.
    """

    def __init__(
        self,
        clock: Callable[[], datetime],
        run: Run | None = None,
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._clock = clock
        self._patience_s = patience_s
        self._run_given = run
        self._run = run or ThreadPoolExecutor(AT_ONCE, thread_name_prefix="reading").submit
        self._known: dict[Hashable, KeptAnswer] = {}
        self._reading: dict[Hashable, Event] = {}
        self._lock = Lock()

    def ask(
        self,
        question: Hashable,
        read: Callable[[], Any],
        *,
        keep: timedelta = timedelta.max,
        version: Hashable = None,
        is_first_awaited: bool = False,
    ) -> KeptAnswer:
        """The last answer; one that is older than `keep`, or of another version, is read again.

        `is_first_awaited`: without an answer, wait for the first one, however long it takes.
        """
        with self._lock:
            known = self._known.pop(question, None) or KeptAnswer()
            self._known[question] = known  # the last of the dictionary: asked last
            is_same = known.at is not None and known.version == version
            if known.at is not None and is_same and self._clock() - known.at < keep:
                return known
            is_new = question not in self._reading
            done = self._reading.setdefault(question, Event())
        is_awaited = is_first_awaited and known.value is None
        if is_new and is_awaited:
            self._read(question, read, version)
        elif is_new:
            self._run(lambda: self._read(question, read, version))
        done.wait(None if is_awaited else self._patience_s)
        with self._lock:
            known = self._known.get(question, known)
            return replace(known, is_reading=question in self._reading)

    def separate(self) -> "Readings":
        """Readings of the same kind for other questions, which do not wait for these."""
        return Readings(self._clock, self._run_given, patience_s=self._patience_s)

    def clear(self) -> None:
        """Drop every answer, as after a change: each is read again."""
        with self._lock:
            self._known.clear()

    def _read(self, question: Hashable, read: Callable[[], Any], version: Hashable) -> None:
        at = self._clock()
        try:
            answer = KeptAnswer(value=read(), at=at, version=version)
        except FleetError as error:
            before = self._known.get(question, KeptAnswer())
            answer = replace(before, at=at, version=version, failed=str(error))
        except BaseException:
            self._end(question)
            raise
        with self._lock:
            self._known[question] = answer
            while len(self._known) > KEPT_AT_MOST:
                self._known.pop(next(iter(self._known)))
        self._end(question)

    def _end(self, question: Hashable) -> None:
        with self._lock:
            done = self._reading.pop(question)
        done.set()
