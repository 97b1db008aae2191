"""The idle target at a time, by the windows of a schedule in a time zone.

The highest count wins: a window raises the target, it never lowers it below `count` or below
another window that is open, so the order of windows does not matter.

On the days on which the clock changes, a window opens at its `from` and closes at its `to` as
the clock shows them:
- a time that the clock skips is the moment at which it skips it;
- a time that the clock shows twice opens a window at the first and closes it at the second.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

from fleet.config.model import IdleConfig, ScheduleWindow

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)


def idle_target(idle: IdleConfig, at: datetime) -> int:
    """The number of runners to keep idle at `at`, an aware time."""
    counts = [window.count for window in idle.schedule if _is_open(window, at)]
    return max(idle.count, *counts) if counts else idle.count


def _is_open(window: ScheduleWindow, at: datetime) -> bool:
    return any(opened <= at < closed for opened, closed in _openings(window, at))


def _openings(window: ScheduleWindow, at: datetime) -> Iterator[tuple[datetime, datetime]]:
    """When the window opens and closes, on the day before `at` and on the day of `at`."""
    zone = ZoneInfo(window.timezone)
    today = at.astimezone(zone).date()
    until = window.end if window.end > window.start else window.end + _DAY
    for day in (today - _DAY, today):
        if day.weekday() in window.days:
            opened = _moment(day, window.start, zone, last=False)
            yield opened, _moment(day, until, zone, last=True)


def _moment(day: date, clock: timedelta, zone: tzinfo, *, last: bool) -> datetime:
    """The moment, in UTC, at which the clock in `zone` shows that time of that day."""
    shown = datetime.combine(day, time()) + clock
    first_guess = shown.replace(tzinfo=zone, fold=1 if last else 0).astimezone(UTC)
    if first_guess.astimezone(zone).replace(tzinfo=None) == shown:
        return first_guess
    return _skip(shown, zone)


def _skip(shown: datetime, zone: tzinfo) -> datetime:
    """The moment at which the clock skips the time `shown`, to the second."""
    before = shown.replace(tzinfo=zone, fold=1).astimezone(UTC)  # read with the later offset
    after = shown.replace(tzinfo=zone, fold=0).astimezone(UTC)
    while after - before > _SECOND:
        middle = before + (after - before) // 2
        if middle.astimezone(zone).replace(tzinfo=None) < shown:
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0)
