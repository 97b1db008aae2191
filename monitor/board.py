"""The picture of the fleet that all pages share, read again in the background.

A page never waits for AWS: it shows the last picture, and says how old it is.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from threading import Event, Lock, Thread

from fleet.errors import FleetError
from operations.fleet_view import FleetView
from operations.lanes import Lane

# While a page is open the picture is this old at most, plus the time of reading it; else it is
# read for the metrics alone.
WATCHED_S = 3.0
UNWATCHED_S = 30.0
# A page that is open asks at least so often.
STILL_WATCHED_S = 90.0
RECENT_JOBS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The fleet as it was last read. `view` is None until the first reading has succeeded."""

    number: int = 0  # each reading adds one
    view: FleetView | None = None
    lanes: tuple[Lane, ...] = ()
    failed: str = ""  # why the last reading failed; `view` is then of an earlier one

    def age_s(self, at: datetime) -> float | None:
        """Seconds since the fleet was read; None before the first time."""
        return None if self.view is None else max(0.0, (at - self.view.at).total_seconds())


# From the lanes of the last picture to the fleet and its lanes.
Read = Callable[[tuple[Lane, ...]], tuple[FleetView, tuple[Lane, ...]]]


class Board:
    """Has the fleet read, again and again, and keeps the last picture.

    `read` may raise `FleetError`: the next reading tries again.
    """

    def __init__(self, read: Read, clock: Callable[[], datetime]) -> None:
        self._read = read
        self._clock = clock
        self._picture = Picture()
        self._looked_at: datetime | None = None
        self.streams = 0  # open ones
        self._lock = Lock()
        self._wake = Event()
        self._ending = Event()
        self._thread: Thread | None = None

    def look(self) -> Picture:
        """The last picture, for a person: the readings are frequent from now on."""
        was_watched = self._is_watched()
        self._looked_at = self._clock()
        if not was_watched:
            self._wake.set()
        return self._picture

    @property
    def picture(self) -> Picture:
        """The last picture, for a program."""
        return self._picture

    @property
    def is_ending(self) -> bool:
        """Whether the dashboard ends: streams end then as well."""
        return self._ending.is_set()

    def read_now(self) -> Picture:
        """Read the fleet at once, such as after a change of it."""
        with self._lock:
            before = self._picture
            try:
                view, lanes = self._read(before.lanes)
            except FleetError as error:
                failed = f"the fleet could not be read: {error}"
                self._picture = replace(before, number=before.number + 1, failed=failed)
            else:
                self._picture = Picture(number=before.number + 1, view=view, lanes=lanes)
            return self._picture

    def start(self) -> None:
        """Begin to read, in a thread."""
        self._thread = Thread(target=self._go_on, name="board", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Start no further reading, and end the streams."""
        self._ending.set()
        self._wake.set()

    def end(self) -> None:
        """Stop, and wait for the thread that reads."""
        self.stop()
        if self._thread is not None:
            self._thread.join(timeout=5)

    async def changes(self, *, look_s: float = 0.5) -> AsyncGenerator[int]:
        """The number of each new picture, from the present one on, until the dashboard ends."""
        last = -1
        self.streams += 1
        try:
            while not self.is_ending:
                number = self.look().number
                if number != last:
                    last = number
                    yield number
                await asyncio.sleep(look_s)
        finally:
            self.streams -= 1

    def _is_watched(self) -> bool:
        looked = self._looked_at
        return looked is not None and self._clock() - looked < timedelta(seconds=STILL_WATCHED_S)

    def _go_on(self) -> None:
        while not self.is_ending:
            self._wake.clear()
            began = time.monotonic()
            with suppress(OSError):  # no network for a while; the next reading tries again
                self.read_now()
            # A fleet that takes long to read leaves as much time for the pages.
            took_s = time.monotonic() - began
            self._wake.wait(max(took_s, WATCHED_S if self._is_watched() else UNWATCHED_S))
