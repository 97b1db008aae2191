"""Metrics as CloudWatch reads them out of the log: each is a number of a declared event.

An event of the log names its own metrics, so a number on a graph always has lines behind it, and no
call is made for it. Source: CloudWatch Logs, embedded metric format specification.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

NAMESPACE = "RunnerFleet"
STACK = "Stack"

Event = TypeVar("Event")


@dataclass(frozen=True, slots=True)
class Measure:
    """One metric of an event: the number in `field`, or 1 where it names none."""

    name: str
    unit: str  # CloudWatch's: Count, Seconds, None
    field: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The metrics of an event. `by`: fields that are a dimension besides the stack."""

    measures: tuple[Measure, ...]
    by: tuple[str, ...]
    is_whole: bool  # also without `by`, for the whole stack

    @property
    def dimensions(self) -> list[list[str]]:
        """The sets of dimensions, as CloudWatch wants them."""
        split = [[STACK, *(name.capitalize() for name in self.by)]] if self.by else []
        return [*([[STACK]] if self.is_whole or not self.by else []), *split]


MEASURED: dict[type, Measured] = {}


def measured(
    *measures: Measure, by: tuple[str, ...] = (), is_whole: bool = False
) -> Callable[[type[Event]], type[Event]]:
    """Declare the metrics of an event's class."""

    def declare(event: type[Event]) -> type[Event]:
        MEASURED[event] = Measured(measures=measures, by=by, is_whole=is_whole)
        return event

    return declare


def embedded(event: "DataclassInstance", *, stack: str, at: datetime) -> dict[str, Any]:
    """What a line of the log has besides, so that CloudWatch makes metrics of it.

    Empty for an event without any; a number that is None is left out.
    """
    kind = MEASURED.get(type(event))
    if kind is None:
        return {}
    values = {
        measure.name: getattr(event, measure.field) if measure.field else 1
        for measure in kind.measures
    }
    present = [measure for measure in kind.measures if values[measure.name] is not None]
    if not present:
        return {}
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": kind.dimensions,
        "Metrics": [{"Name": measure.name, "Unit": measure.unit} for measure in present],
    }
    named = {name.capitalize(): str(getattr(event, name)) for name in kind.by}
    return {
        "_aws": {"Timestamp": int(at.timestamp() * 1000), "CloudWatchMetrics": [directive]},
        STACK: stack,
        **named,
        **{measure.name: values[measure.name] for measure in present},
    }
