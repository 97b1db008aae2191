"""A function that runs in a thread of its own until its context is left."""

import threading
from collections.abc import Callable
from typing import Self


class Background:
    """A context: inside it `run` goes on; leaving it asks `run` to end and waits."""

    def __init__(self, run: Callable[[], None]) -> None:
        """Nothing runs before the context is entered."""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=run, daemon=True)

    @property
    def is_closing(self) -> bool:
        """Whether the context is being left."""
        return self._closing.is_set()

    def wait(self, seconds: float) -> None:
        """Wait in `run`, until the context is being left at most."""
        self._closing.wait(seconds)

    def end(self) -> None:
        """Ask `run` to end. A subclass that waits for an event of its own sets it here as well."""
        self._closing.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ask it to end, and wait for that."""
        self.end()
        self._thread.join()
