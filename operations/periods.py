"""Times that a person names: `2h`, `7d`, `today`, `yesterday`, a date, a date with a time."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fleet.errors import Refused
from fleet.times import HasUtcTimes, in_utc

_LENGTH = re.compile(r"(\d{1,6})(s|m|h|d|w)", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
PERIOD_FORMS = "write it as 90m, 24h, 7d, today, yesterday, 2026-11-26 or 2026-11-26T08:00 (UTC)"
FUTURE_FORMS = "write it as 30m, 2h, 7d, 2026-11-26 or 2026-11-26T08:00 (UTC)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Period(HasUtcTimes):
    """From `since` until `until`, which is not included."""

    since: datetime
    until: datetime
    is_open: bool = True  # until now


def read_period(since: str, at: datetime) -> Period:
    """The period from what a person names until now; `yesterday` ends at midnight, UTC.

    Raises `Refused` for anything else, and for a time in the future.
    """
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    after = at + timedelta(microseconds=1)  # what ended just now is part of it
    if since == "today":
        return Period(since=midnight, until=after)
    if since == "yesterday":
        return Period(since=midnight - timedelta(days=1), until=midnight, is_open=False)
    begins = at - length if (length := _length(since)) is not None else _moment(since, PERIOD_FORMS)
    if begins > at:
        raise Refused(f"{since} is in the future")
    return Period(since=begins, until=after)


def read_moment(text: str, at: datetime) -> datetime:
    """A time in the future: a length from now, or a moment. Raises `Refused` for anything else."""
    length = _length(text)
    return at + length if length is not None else _moment(text, FUTURE_FORMS)


def read_length(text: str) -> timedelta:
    """A length of time such as `2h`. Raises `Refused` for anything else."""
    length = _length(text)
    if not length:
        raise Refused("write the length of time as 30m, 2h or 7d")
    return length


def _length(text: str) -> timedelta | None:
    parts = _LENGTH.fullmatch(text)
    if parts is None:
        return None
    try:
        length = timedelta(**{_UNITS[parts[2]]: int(parts[1])})
    except OverflowError:
        length = timedelta.max
    return min(length, timedelta(days=3650))


def _moment(text: str, forms: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        return in_utc(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except ValueError as error:
        raise Refused(f"{text} is not a time: {forms}") from error
