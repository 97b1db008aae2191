"""Looks at the machines all the time: which lived, from when to when."""

import json
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from local.laptop import Laptop

LOOK_EVERY_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """One Lambda sandbox that lives now."""

    request: str
    runner_id: str


def machines_of(laptop: Laptop) -> tuple[str, ...]:
    """The EC2 machines that live now."""
    return tuple(guest.instance_id for guest in laptop.guests.guests) if laptop.guests else ()


def sandboxes_of(laptop: Laptop) -> tuple[Sandbox, ...]:
    """The Lambda sandboxes that live now."""
    events = laptop.lambdas.events() if laptop.lambdas else {}
    return tuple(
        Sandbox(request=request, runner_id=json.loads(event).get("runner_id", ""))
        for request, event in events.items()
    )


class Observer:
    """A context; it looks from a thread of its own."""

    def __init__(self, laptop: Laptop) -> None:
        self._laptop = laptop
        self._last: dict[str, datetime] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

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

    def last_seen(self, machine_id: str, runner_id: str) -> datetime | None:
        """When the machine was last seen alive; None when it never was."""
        return self._last.get(machine_id) or self._last.get(runner_id)

    def _watch(self) -> None:
        while not self._closing.wait(LOOK_EVERY_S):
            at = datetime.now(UTC)
            names = [*machines_of(self._laptop)]
            names += [one.runner_id for one in sandboxes_of(self._laptop)]
            self._last |= dict.fromkeys(names, at)
