"""Starts the reconcile machine every few seconds, as its rule does every minute."""

from contextlib import suppress

from botocore.exceptions import BotoCoreError, ClientError

from local.beat import Beat
from local.laptop import Laptop


class Ticker(Beat):
    """A context. The rule of the template still ticks."""

    def __init__(self, laptop: Laptop, every_s: float) -> None:
        super().__init__(self._tick, every_s)
        self._laptop = laptop

    def _tick(self) -> None:
        with suppress(BotoCoreError, ClientError):  # a restarting engine ticks again later
            self._laptop.reconcile_now()
