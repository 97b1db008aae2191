"""Starts the reconcile machine every few seconds, as its rule does every minute."""

import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from botocore.exceptions import BotoCoreError, ClientError

from local.laptop import Laptop


class Ticker:
    """A context; it ticks from a thread of its own. The rule of the template ticks all the same."""

    def __init__(self, laptop: Laptop, every_s: float) -> None:
        self._laptop = laptop
        self._every_s = every_s
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._thread.join()

    def _tick(self) -> None:
        while not self._closing.wait(self._every_s):
            with suppress(BotoCoreError, ClientError):  # a restarting engine ticks again later
                self._laptop.reconcile_now()
