"""Answers that take seconds, such as a month of history: read in the background, kept, read anew.

A page never waits for one: it shows the last answer, or says that it is being read.
"""

from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

from fleet.errors import FleetError

# Different questions that are kept; one more drops that which was asked longest ago.
KEPT_AT_MOST = 40
AT_ONCE = 2

Run = Callable[[Callable[[], None]], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """The last answer to one question. `value` is None until the first one."""

    value: Any = None
    at: datetime | None = None  # when it was asked
    failed: str = ""  # why the last try gave no answer


class Readings:
    """The last answers by question. `run` starts a function at once or later, in any thread."""

    def __init__(self, clock: Callable[[], datetime], run: Run | None = None) -> None:
        self._clock = clock
        self._run = run or ThreadPoolExecutor(AT_ONCE, thread_name_prefix="reading").submit
        self._known: dict[Hashable, KeptAnswer] = {}
        self._going: set[Hashable] = set()
        self._lock = Lock()

    def ask(self, question: Hashable, read: Callable[[], Any], *, keep: timedelta) -> KeptAnswer:
        """The last answer; one that is older than `keep` is read anew meanwhile."""
        with self._lock:
            known = self._known.pop(question, None) or KeptAnswer()
            self._known[question] = known  # the last of the dictionary: asked last
            is_fresh = known.at is not None and self._clock() - known.at < keep
            if is_fresh or question in self._going:
                return known
            self._going.add(question)
        self._run(lambda: self._read(question, read))
        return self._known.get(question, known)

    def forget(self) -> None:
        """Read everything anew, such as after a change."""
        with self._lock:
            self._known.clear()

    def _read(self, question: Hashable, read: Callable[[], Any]) -> None:
        at = self._clock()
        try:
            answer = KeptAnswer(value=read(), at=at)
        except FleetError as error:
            before = self._known.get(question, KeptAnswer())
            answer = KeptAnswer(value=before.value, at=at, failed=str(error))
        finally:
            self._going.discard(question)
        with self._lock:
            self._known[question] = answer
            while len(self._known) > KEPT_AT_MOST:
                self._known.pop(next(iter(self._known)))
