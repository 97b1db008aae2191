"""Times of the fleet: aware, and in UTC. The ledger orders them as text."""

from dataclasses import fields
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

from fleet.errors import Refused

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def in_utc(at: datetime) -> datetime:
    """The same moment in UTC. Raises `ValueError` for a time without a zone, or out of range."""
    if at.utcoffset() is None:
        raise ValueError("a time without a zone")
    if at.tzinfo is UTC:
        return at
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("a time out of range") from None


def iso(at: datetime | None) -> str | None:
    """The text of a time, as JSON and the ledger have it; None without one."""
    return at.isoformat() if at else None


def seconds_between(since: datetime | None, until: datetime | None) -> float | None:
    """Seconds, never below 0; None where one of the times is not known."""
    if since is None or until is None:
        return None
    return max(0.0, (until - since).total_seconds())


@cache
def _times_of(kind: "type[DataclassInstance]") -> tuple[str, ...]:
    """The fields that may hold a time: rows are read by the thousand, and most fields hold none."""
    return tuple(field.name for field in fields(kind) if "datetime" in str(field.type).lower())


class HasUtcTimes:
    """A frozen dataclass that converts its times to UTC.

    Raises `Refused`, with the field, for a time without a zone: it could be any moment.
    """

    __slots__ = ()

    def __post_init__(self: "DataclassInstance") -> None:
        """Convert every time."""
        for name in _times_of(type(self)):
            value = getattr(self, name)
            if isinstance(value, datetime) and value.tzinfo is not UTC:
                try:
                    object.__setattr__(self, name, in_utc(value))
                except ValueError as error:
                    of = f"{type(self).__name__}.{name}"
                    raise Refused(f"{error} is no time", field=of) from None
