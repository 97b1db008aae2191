"""Schedules compared with a walk along the clock on the wall, minute by minute, over its changes.

The rule computes moments; here a person sits before a clock and reads it.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from fleet.config.model import IdleConfig
from fleet.rules.schedule import idle_target

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
ZONES = [
    "Europe/Berlin",
    "Europe/Dublin",  # its winter is the exception, by law
    "America/New_York",
    "America/St_Johns",  # half an hour off
    "America/Havana",  # an hour is repeated from midnight on
    "America/Santiago",  # and one until midnight
    "Africa/Cairo",  # midnight is skipped, on a Friday
    "Asia/Beirut",  # midnight is skipped, on a Sunday
    "Africa/Casablanca",  # changes around Ramadan, backwards
    "Australia/Lord_Howe",  # by half an hour
    "Pacific/Chatham",  # three quarters of an hour off, changes at 02:45
    "Antarctica/Troll",  # by two hours
    "Asia/Kathmandu",  # never
]
HOURS = [
    "00:00-24:00", "00:00-00:30", "23:30-00:30", "22:00-06:00", "01:15-02:45", "02:00-01:59",
    "02:30-03:00", "00:30-00:00", "23:15-23:45",
]  # fmt: skip

Wall = list[tuple[datetime, datetime]]  # a moment in UTC, and what the clock shows then


@cache
def changes(zone: str) -> tuple[datetime, ...]:
    """The hours of a year after which the clock was changed; one quiet hour if never."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    hours = [start + timedelta(hours=n) for n in range(365 * 24)]
    offsets = [hour.astimezone(ZoneInfo(zone)).utcoffset() for hour in hours]
    changed = [
        hour
        for hour, (old, new) in zip(hours, pairwise(offsets), strict=False)
        if old != new
    ]  # fmt: skip
    return tuple(changed) or (hours[5000],)


def wall(zone: str, around: datetime) -> Wall:
    """The clock from three days before to four days after."""
    place = ZoneInfo(zone)
    moments = (around - 3 * DAY + n * MINUTE for n in range(7 * 24 * 60))
    return [(moment, moment.astimezone(place).replace(tzinfo=None)) for moment in moments]


def opening(clock: Wall, day: date, start: timedelta, until: timedelta) -> tuple[datetime, ...]:
    """When a window of that day opens and closes, as a person who watches the clock sees it."""
    opens_at, closes_at = (datetime.combine(day, time()) + offset for offset in (start, until))
    opened = next(at for at, shown in clock if shown >= opens_at)
    shown_last = [at for at, shown in clock if shown == closes_at]
    still_before = [at for at, shown in clock if shown < closes_at]
    return opened, shown_last[-1] if shown_last else still_before[-1] + MINUTE


def minutes(text: str) -> timedelta:
    hour, _, minute = text.partition(":")
    return timedelta(hours=int(hour), minutes=int(minute))


def openings(clock: Wall, hours: str) -> Iterator[tuple[int, tuple[datetime, ...]]]:
    """Those of the days in the middle of the walk, each with its weekday."""
    start, end = (minutes(text) for text in hours.split("-"))
    until = end if end > start else end + DAY
    middle = clock[len(clock) // 2][1].date()
    for ahead in range(-2, 3):
        day = middle + ahead * DAY
        yield day.weekday(), opening(clock, day, start, until)


def config(hours: str, zone: str, weekday: int | None) -> IdleConfig:
    names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    start, _, end = hours.partition("-")
    days = "mon-sun" if weekday is None else names[weekday]
    window = {"days": days, "from": start, "to": end, "timezone": zone, "count": 1}
    return IdleConfig.model_validate({"count": 0, "schedule": [window]})


@pytest.mark.parametrize("zone", ZONES)
def test_windows_open_and_close_as_the_clock_on_the_wall_shows_it(zone: str) -> None:
    for change in changes(zone):
        clock = wall(zone, change)
        day_of_change = change.astimezone(ZoneInfo(zone)).weekday()
        for hours in HOURS:
            by_day = list(openings(clock, hours))
            for weekday in (None, day_of_change, (day_of_change + 6) % 7):
                idle = config(hours, zone, weekday)
                held = [opened for day, opened in by_day if weekday in {None, day}]
                moments = {at for window in held for edge in window for at in (edge - MINUTE, edge)}
                moments |= {change + n * timedelta(minutes=15) for n in range(-8, 16)}
                for at in (near for near in moments if abs(near - change) < 1.5 * DAY):
                    is_open = any(opened <= at < closed for opened, closed in held)
                    assert idle_target(idle, at) == is_open, (zone, hours, weekday, at)
