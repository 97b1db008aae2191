"""Does something every so often, from a thread of its own."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Beat:
    """A context; `act` is called `every_s` after it was entered, and again until it is left."""

    def __init__(self, act: Callable[[], None], every_s: float) -> None:
        self._act = act
        self._every_s = every_s
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def is_closing(self) -> bool:
        """Whether the context is being left."""
        return self._closing.is_set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for the call that is under way, if there is one."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(self._every_s):
            self._act()
