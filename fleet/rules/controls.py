"""What an operator ordered: pauses, other ceilings for a time, the end of a runner. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from fleet.model import Runner, RunnerState
from fleet.times import HasUtcTimes

ALL = "*"  # of a pause: every pool
END_KEPT = timedelta(days=1)  # an order to end a runner lapses then


class ControlKind(StrEnum):
    """The kinds of an operator's orders."""

    PAUSE = "pause"  # launch nothing
    CEILING = "ceiling"  # another ceiling for a time
    END = "end"  # of one runner


@dataclass(frozen=True, slots=True, kw_only=True)
class Control(HasUtcTimes):
    """One order of an operator, in force until it is taken back, or lapses."""

    kind: ControlKind
    about: str  # a pool, `ALL`, or a runner's id
    at: datetime
    who: str
    note: str = ""
    until: datetime | None = None  # None: until it is taken back
    ceiling: int | None = None
    at_once: bool = False  # of an end: at once, even with a job

    def same_order(self, other: "Control | None") -> bool:
        """Whether another orders the same; author and time do not count."""
        if other is None:
            return False
        # An order to end a runner lapses by itself: its end does not count.
        is_as_long = self.kind is ControlKind.END or self.until == other.until
        this_order, other_order = (
            (control.kind, control.about, control.note, control.ceiling, control.at_once)
            for control in (self, other)
        )
        return is_as_long and this_order == other_order


def in_force(controls: Iterable[Control], at: datetime) -> tuple[Control, ...]:
    """Those that have not lapsed, oldest first."""
    live = (control for control in controls if control.until is None or control.until > at)
    return tuple(sorted(live, key=lambda control: (control.at, control.kind, control.about)))


def pause_of(controls: Iterable[Control], pool: str) -> Control | None:
    """The pause that a pool is under: its own, else that of all pools."""
    pauses = {control.about: control for control in controls if control.kind is ControlKind.PAUSE}
    return pauses.get(pool) or pauses.get(ALL)


def ceiling_of(controls: Iterable[Control], pool: str, configured: int) -> int:
    """The ceiling in force for a pool."""
    orders = (
        control
        for control in controls
        if control.kind is ControlKind.CEILING and control.about == pool
    )
    order = next(orders, None)
    return configured if order is None or order.ceiling is None else order.ceiling


def end_of(controls: Iterable[Control], runner: Runner) -> Control | None:
    """The order to end this runner."""
    ends = (
        control
        for control in controls
        if control.kind is ControlKind.END and control.about == runner.id
    )
    return next(ends, None)


def to_drain(controls: Iterable[Control], runners: Iterable[Runner]) -> dict[str, Control]:
    """The runners that an operator ordered to end and that have not got it yet, with the order."""
    ends = ((runner, end_of(controls, runner)) for runner in runners)
    return {
        runner.id: order
        for runner, order in ends
        if order is not None and runner.mailbox is not None and _is_undrained(runner)
    }


def _is_undrained(runner: Runner) -> bool:
    is_over = runner.state in {RunnerState.DRAINING, RunnerState.DONE}
    return not is_over and not runner.is_called_off
