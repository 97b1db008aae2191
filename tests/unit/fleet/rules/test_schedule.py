"""The idle target by the hour; days on which clocks change are in `test_schedule_walks`."""

from datetime import UTC, datetime
from typing import Any

import pytest

from fleet.config.model import IdleConfig
from fleet.rules.schedule import idle_target

BERLIN = "Europe/Berlin"  # +1; +2 from 2026-03-29 01:00 UTC to 2026-10-25 01:00 UTC


def window(text: str, zone: str = "UTC") -> dict[str, object]:
    """`mon-fri 08:00-18:00 2` as a window of the file."""
    days, hours, count = text.split()
    start, _, end = hours.partition("-")
    return {"days": days, "from": start, "to": end, "timezone": zone, "count": int(count)}


def idle(*windows: str, zone: str = "UTC", count: int = 0) -> IdleConfig:
    schedule = [window(text, zone) for text in windows]
    return IdleConfig.model_validate({"count": count, "schedule": schedule})


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


WORK = idle("mon-fri 08:00-18:00 2", zone=BERLIN)
NIGHT = idle("fri 22:00-02:00 3", zone=BERLIN)


TARGETS: dict[str, Any] = {
    "no schedule": (idle(), "2026-08-20 12:00", 0),
    "the base count": (idle(count=1), "2026-08-20 12:00", 1),
    "a second before it opens": (WORK, "2026-08-20 05:59:59", 0),
    "opens on the clock of the zone, summer": (WORK, "2026-08-20 06:00", 2),
    "still open": (WORK, "2026-08-20 15:59:59", 2),
    "closed at its end": (WORK, "2026-08-20 16:00", 0),
    "winter: not yet": (WORK, "2026-01-20 06:59", 0),
    "winter: an hour later in UTC": (WORK, "2026-01-20 07:00", 2),
    "not on Saturday": (WORK, "2026-08-22 12:00", 0),
    "before the night": (NIGHT, "2026-08-21 19:59", 0),
    "Friday night": (NIGHT, "2026-08-21 20:00", 3),
    "goes on after midnight, on Saturday": (NIGHT, "2026-08-21 23:59", 3),
    "until Saturday 02:00": (NIGHT, "2026-08-22 00:00", 0),
    "not in the night to Friday": (NIGHT, "2026-08-20 22:30", 0),
    "over the week's end": (idle("sun 23:00-01:00 1"), "2026-08-24 00:59", 1),
    "a whole day": (idle("mon 00:00-24:00 1"), "2026-08-24 23:59:59", 1),
    "and not longer": (idle("mon 00:00-24:00 1"), "2026-08-25 00:00", 0),
    "the highest count wins": (
        idle("mon-sun 08:00-18:00 5", "mon-sun 10:00-12:00 1"), "2026-08-20 11:00", 5
    ),
    "a window never lowers the base count": (
        idle("mon-sun 08:00-18:00 1", count=4), "2026-08-20 11:00", 4
    ),
}  # fmt: skip


@pytest.mark.parametrize(("config", "at", "target"), TARGETS.values(), ids=TARGETS)
def test_idle_target(config: IdleConfig, at: str, target: int) -> None:
    assert idle_target(config, utc(at)) == target


def test_at_may_be_in_any_zone() -> None:
    at = datetime.fromisoformat("2026-08-20T02:00:00-05:00")  # 07:00 UTC, 09:00 in Berlin
    assert idle_target(WORK, at) == 2
