"""Calls a function at intervals, from a thread of its own."""

from collections.abc import Callable

from adapters.guest.background import Background


class Beat(Background):
    """A context: calls `act` every `every_s` seconds until it is left, first after one interval."""

    def __init__(self, act: Callable[[], None], every_s: float) -> None:
        super().__init__(self._run)
        self._act = act
        self._every_s = every_s

    def _run(self) -> None:
        while not self._closing.wait(self._every_s):
            self._act()
