"""Does something every so often, from a thread of its own."""

from collections.abc import Callable

from adapters.guest.background import Background


class Beat(Background):
    """A context; `act` is called `every_s` after it was entered, and again until it is left."""

    def __init__(self, act: Callable[[], None], every_s: float) -> None:
        super().__init__(self._run)
        self._act = act
        self._every_s = every_s

    def _run(self) -> None:
        while not self._closing.wait(self._every_s):
            self._act()
