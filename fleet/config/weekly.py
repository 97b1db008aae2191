"""Cron-like periods of gitlab-runner as counts of a week, and those as windows of a schedule.

gitlab-runner: the last policy whose period has the moment counts. A window of fleet.toml only adds.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 24 * 60
WEEK = len(DAYS) * DAY_MINUTES
_STEP = re.compile(r"(\*|[a-z0-9]+(?:-[a-z0-9]+)?)(?:/([1-9]\d{0,2}))?", re.IGNORECASE)
_SUNDAY_FIRST = ("sun", *DAYS[:6])


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedPeriods:
    """Periods, each a text of cron's form, and how many machines idle in them."""

    periods: tuple[str, ...]
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """From minute `start` to `end` of each of the `days`; Monday is 0."""

    days: tuple[int, ...]
    start: int
    end: int
    count: int

    @property
    def toml(self) -> str:
        """As one entry of `idle.schedule`, without its time zone."""
        start, end = (f"{minute // 60:02d}:{minute % 60:02d}" for minute in (self.start, self.end))
        return f'days = "{days_text(self.days)}", from = "{start}", to = "{end}"'


def counts_of_week(base: int, policies: Sequence[CountedPeriods]) -> list[int]:
    """The count of each minute of a week, Monday 00:00 first.

    Raises `ValueError` for a period that is not the same every week.
    """
    week = [base] * WEEK
    for policy in policies:
        for period in policy.periods:
            for minute in minutes_of(period):
                week[minute] = policy.count
    return week


def windows_of(week: Sequence[int]) -> tuple[int, tuple[Window, ...]]:
    """The lowest count, and the windows in which it is higher."""
    base = min(week)
    days: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for day in range(len(DAYS)):
        for start, end, count in _runs(week[day * DAY_MINUTES : (day + 1) * DAY_MINUTES]):
            if count > base:
                days[start, end, count].append(day)
    windows = (
        Window(days=tuple(on), start=start, end=end, count=count)
        for (start, end, count), on in days.items()
    )
    return base, tuple(sorted(windows, key=lambda window: (window.days, window.start)))


def minutes_of(period: str) -> Iterator[int]:
    """The minutes of the week in a period of five fields, or of docker+machine's seven."""
    fields = period.split()
    if len(fields) == 7:  # seconds first, years last
        if fields[0] != "*" or fields[6] != "*":
            raise ValueError("it names seconds or years")
        fields = fields[1:6]
    if len(fields) != 5:
        raise ValueError("it has not five fields, or seven")
    minute, hour, day, month, weekday = fields
    if {day, month} - {"*", "?"}:
        raise ValueError("it names days of a month, or months")
    minutes, hours = _set_of(minute, 60, ()), _set_of(hour, 24, ())
    for on in sorted({(number + 6) % 7 for number in _set_of(weekday, 8, _SUNDAY_FIRST)}):
        for at in sorted(hours):
            yield from (on * DAY_MINUTES + at * 60 + minute for minute in sorted(minutes))


def days_text(days: Sequence[int]) -> str:
    """`mon-fri`, or `mon,wed-fri`."""
    parts: list[list[int]] = []
    for day in days:
        if parts and parts[-1][-1] == day - 1:
            parts[-1].append(day)
        else:
            parts.append([day])
    return ",".join(
        DAYS[part[0]] if len(part) == 1 else f"{DAYS[part[0]]}-{DAYS[part[-1]]}" for part in parts
    )


def _runs(counts: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    start = 0
    for minute in range(1, len(counts) + 1):
        if minute == len(counts) or counts[minute] != counts[start]:
            yield start, minute, counts[start]
            start = minute


def _set_of(field: str, below: int, names: Sequence[str]) -> set[int]:
    """The numbers of a field of cron's form."""
    if field == "?":
        field = "*"
    numbers: set[int] = set()
    for part in field.split(","):
        match = _STEP.fullmatch(part)
        if match is None:
            raise ValueError(f"{field} is no list of numbers, names or ranges")
        first, _, last = match[1].partition("-")
        if first == "*":
            start, end = 0, below - 1
        else:
            start = _number(first, names)
            end = _number(last, names) if last else (below - 1 if match[2] else start)
        if not 0 <= start <= end < below:
            raise ValueError(f"{field} is out of its range")
        numbers |= set(range(start, end + 1, int(match[2] or 1)))
    return numbers


def _number(text: str, names: Sequence[str]) -> int:
    if text.isdecimal():
        return int(text)
    if text.lower() in names:
        return names.index(text.lower())
    raise ValueError(f"{text} is no number")
