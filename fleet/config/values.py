"""Values as people write them in `fleet.toml`: durations, times of day, weekdays, projects.

Each reader takes TOML's value, or the value that it would return, and raises `ValueError` with a
sentence to follow the key's name: `must be …`.
"""

import re
from collections.abc import Iterable
from datetime import timedelta
from difflib import get_close_matches
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, BeforeValidator, Strict

from fleet.config.secret_words import looks_secret

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")  # Monday is 0, as in `date.weekday`

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
# GitLab refuses a runner with a shorter `maximum_timeout`: "needs to be at least 10 minutes".
SHORTEST_JOB_LIMIT = timedelta(minutes=10)
TAGS_AT_MOST = 50  # source: GitLab, a runner's tag list

_SHOWN_BELOW = 10**18
_DURATION = re.compile(r"(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,8})s)?")
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00", re.ASCII)


def shown(value: object) -> str:
    """A value as a message shows it: as TOML writes it, shortened, and never a secret."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if looks_secret(value):
            return "what looks like a secret"
        return f'"{value}"' if len(value) <= 40 else f'"{value[:37]}..."'
    if isinstance(value, int) and abs(value) >= _SHOWN_BELOW:
        return "a number beyond all measure"  # Python writes none of more than 4,300 digits
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, dict):
        return "a table"
    return "a list" if isinstance(value, list | tuple) else "a date or time"


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """A hint for a word close to one of `known`; else empty."""
    close = get_close_matches(str(word), list(known), n=1)
    return f'did you mean "{close[0]}"?' if close else ""


def read_duration(value: object) -> timedelta:
    """Read "90s", "14m", "3h", "1h30m" or "1d"."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) and value else None
    if match is None:
        raise ValueError(f'must be a duration such as "90s", "14m" or "1h30m" (is {shown(value)})')
    days, hours, minutes, seconds = (int(number or 0) for number in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def duration_text(value: timedelta) -> str:
    """Write a duration the way `read_duration` reads it; parts of a second are left out."""
    if value and not value % DAY:
        return f"{value.days}d"
    minutes, seconds = divmod(int(value.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (seconds, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def read_time(value: object) -> timedelta:
    """Read "HH:MM" as the time since midnight on the clock; "24:00" is the day's end."""
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ValueError(f'must be a time such as "08:00", up to "24:00" (is {shown(value)})')
    hours, minutes = value.split(":")
    return timedelta(hours=int(hours), minutes=int(minutes))


def read_days(value: object) -> tuple[int, ...]:
    """Read "mon-fri", "sat,sun" or "mon,wed-fri" as weekdays, Monday = 0, each once, in order.

    A range may run over the week's end: "fri-mon" is Friday to Monday.
    """
    if isinstance(value, tuple):
        return value
    days: set[int] = set()
    for part in value.split(",") if isinstance(value, str) else [""]:
        first, dash, last = (name.strip() for name in part.strip().lower().partition("-"))
        last = last if dash else first
        if first not in DAYS or last not in DAYS:
            raise ValueError(f'must be days such as "mon-fri" or "sat,sun" (is {shown(value)})')
        start = DAYS.index(first)
        length = (DAYS.index(last) - start) % 7 + 1
        days.update((start + step) % 7 for step in range(length))
    return tuple(sorted(days))


def read_timezone(value: object) -> str:
    """Check the name of a time zone against the time-zone database."""
    if isinstance(value, str):
        try:
            return ZoneInfo(value).key
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass  # OSError: the name of a folder of zones, such as "Europe"
    hint = did_you_mean(value, available_timezones()) or 'such as "Europe/Berlin"'
    raise ValueError(f"must be a time zone (is {shown(value)}); {hint}")


def read_watched(value: object) -> str:
    """Read a project or group: its number, or its full path."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63:
        return str(value)
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}|[\w.-]+(/[\w.-]+)*", value):
        return value
    raise ValueError(f'must be a number or a full path such as "acme/demo" (is {shown(value)})')


def read_runners_in(value: object) -> dict[str, Any]:
    """Read "instance", "project", "project:7" or "group:42" as a kind and an id."""
    match = re.fullmatch(
        r"(instance|project)|(group|project):([1-9][0-9]{0,17})",
        value if isinstance(value, str) else "",
    )
    if not match:
        forms = '"instance", "project", "project:<number>" or "group:<number>"'
        raise ValueError(f"must be {forms} (is {shown(value)})")
    alone, kind, number = match.groups()
    return {"kind": alone or kind, "id": int(number) if number else None}


def architecture(instance_type: str) -> str:
    """Tell arm64 from x86_64 by the name: Graviton types have a `g` after their generation."""
    family = instance_type.partition(".")[0]
    is_arm = re.match(r"[a-z]+\d+[a-z]*g|a1$|mac2", family)
    return "arm64" if is_arm else "x86_64"


def _of_form(pattern: str, must: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"must be {must} (is {shown(value)})")
        return value

    return AfterValidator(check)


def _between(least: timedelta, most: timedelta) -> AfterValidator:
    def check(value: timedelta) -> timedelta:
        if not least <= value <= most:
            low, high = duration_text(least), duration_text(most)
            raise ValueError(f"must be from {low} to {high} (is {duration_text(value)})")
        return value

    return AfterValidator(check)


def _visible(text: str) -> str:
    """Refuse invisible letters: two words that look the same would differ."""
    for letter in text:
        if letter != " " and not letter.isprintable():
            code_point = f"U+{ord(letter):04X}"
            raise ValueError(f"must not hold invisible characters (has {code_point})")
    return text


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not hold a NUL: no environment variable can")
    return text


def _each_once(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"lists {shown(value)} twice")
    return values


def _few_tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    if len(tags) > TAGS_AT_MOST:
        raise ValueError(f"must be at most {TAGS_AT_MOST} tags, as GitLab allows (are {len(tags)})")
    return tags


# The types of the keys.
Duration = Annotated[timedelta, BeforeValidator(read_duration)]
UpToAnHour = Annotated[Duration, _between(SECOND, timedelta(hours=1))]
UpToADay = Annotated[Duration, _between(SECOND, DAY)]
UpToAWeek = Annotated[Duration, _between(SHORTEST_JOB_LIMIT, 7 * DAY)]
TimeOfDay = Annotated[timedelta, BeforeValidator(read_time)]
Weekdays = Annotated[tuple[int, ...], BeforeValidator(read_days)]
TimeZone = Annotated[str, BeforeValidator(read_timezone)]
Watched = Annotated[str, BeforeValidator(read_watched)]
AllWatched = Annotated[tuple[Watched, ...], Strict(False)]
Tag = Annotated[
    str,
    _of_form(r"[^\s,]([^,]{0,253}[^\s,])?", "a tag without commas around it"),
    AfterValidator(_visible),
]
Tags = Annotated[
    tuple[Tag, ...], Strict(False), AfterValidator(_each_once), AfterValidator(_few_tags)
]
InstanceType = Annotated[str, _of_form(r"[a-z][a-z0-9-]*\.[a-z0-9-]+", 'such as "m7i.large"')]
InstanceTypes = Annotated[tuple[InstanceType, ...], Strict(False), AfterValidator(_each_once)]
Subnet = Annotated[str, _of_form(r"subnet-[0-9a-f]{8,17}", 'such as "subnet-0a1b2c3d"')]
Subnets = Annotated[tuple[Subnet, ...], Strict(False), AfterValidator(_each_once)]
Image = Annotated[
    str,
    _of_form(
        r"ami-[0-9a-f]{8,17}|resolve:ssm:/(runner-fleet|aws/service)/[\w./:-]+",
        'an image such as "ami-0a1b2c3d", or "resolve:ssm:" and a parameter below '
        "/runner-fleet/ or /aws/service/",
    ),
]
Memory = Annotated[str, _of_form(r"[1-9]\d{0,6}[kmg]", 'Docker\'s form, such as "512m" or "2g"')]
Text = Annotated[str, _of_form(r"\S|\S[^\n]*\S", "one line of text without blanks around it")]
Variable = Annotated[
    str, _of_form(r"[A-Za-z_][A-Za-z0-9_]*", 'a variable\'s name such as "HTTP_PROXY"')
]
VariableValue = Annotated[str, AfterValidator(_no_nul)]
PoolName = Annotated[
    str,
    _of_form(
        r"[a-z][a-z0-9-]{0,30}",
        "a pool's name: small letters, digits and hyphens, a letter first, at most 31",
    ),
]
Texts = Annotated[tuple[Text, ...], Strict(False)]
