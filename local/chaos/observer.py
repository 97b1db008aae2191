"""Looks at the machines all the time: which lived, from when to when."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from local.beat import Beat
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


class Observer(Beat):
    """A context; it looks from a thread of its own."""

    def __init__(self, laptop: Laptop) -> None:
        super().__init__(self._look, LOOK_EVERY_S)
        self._laptop = laptop
        self._last: dict[str, datetime] = {}

    def last_seen(self, machine_id: str, runner_id: str) -> datetime | None:
        """The last look at which the machine lived; None when there was none."""
        return self._last.get(machine_id) or self._last.get(runner_id)

    def _look(self) -> None:
        at = datetime.now(UTC)
        names = [*machines_of(self._laptop)]
        names += [sandbox.runner_id for sandbox in sandboxes_of(self._laptop)]
        self._last |= dict.fromkeys(names, at)
