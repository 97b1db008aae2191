"""The idle target by the hour; days on which clocks change are in `test_schedule_walks`."""

from datetime import UTC, datetime

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


@pytest.mark.parametrize(
    ("config", "at", "target"),
    [
        pytest.param(idle(), "2026-08-20 12:00", 0, id="no schedule"),
        pytest.param(idle(count=1), "2026-08-20 12:00", 1, id="the base count"),
        pytest.param(WORK, "2026-08-20 05:59:59", 0, id="a second before it opens"),
        pytest.param(WORK, "2026-08-20 06:00", 2, id="opens on the clock of the zone, summer"),
        pytest.param(WORK, "2026-08-20 15:59:59", 2, id="still open"),
        pytest.param(WORK, "2026-08-20 16:00", 0, id="closed at its end"),
        pytest.param(WORK, "2026-01-20 06:59", 0, id="winter: not yet"),
        pytest.param(WORK, "2026-01-20 07:00", 2, id="winter: an hour later in UTC"),
        pytest.param(WORK, "2026-08-22 12:00", 0, id="not on Saturday"),
        pytest.param(NIGHT, "2026-08-21 19:59", 0, id="before the night"),
        pytest.param(NIGHT, "2026-08-21 20:00", 3, id="Friday night"),
        pytest.param(NIGHT, "2026-08-21 23:59", 3, id="goes on after midnight, on Saturday"),
        pytest.param(NIGHT, "2026-08-22 00:00", 0, id="until Saturday 02:00"),
        pytest.param(NIGHT, "2026-08-20 22:30", 0, id="not in the night to Friday"),
        pytest.param(idle("sun 23:00-01:00 1"), "2026-08-24 00:59", 1, id="over the week's end"),
        pytest.param(idle("mon 00:00-24:00 1"), "2026-08-24 23:59:59", 1, id="a whole day"),
        pytest.param(idle("mon 00:00-24:00 1"), "2026-08-25 00:00", 0, id="and not longer"),
        pytest.param(
            idle("mon-sun 08:00-18:00 5", "mon-sun 10:00-12:00 1"),
            "2026-08-20 11:00",
            5,
            id="the highest count wins",
        ),
        pytest.param(
            idle("mon-sun 08:00-18:00 1", count=4),
            "2026-08-20 11:00",
            4,
            id="a window never lowers the base count",
        ),
    ],
)
def test_idle_target(config: IdleConfig, at: str, target: int) -> None:
    assert idle_target(config, utc(at)) == target


def test_at_may_be_in_any_zone() -> None:
    at = datetime.fromisoformat("2026-08-20T02:00:00-05:00")  # 07:00 UTC, 09:00 in Berlin
    assert idle_target(WORK, at) == 2
