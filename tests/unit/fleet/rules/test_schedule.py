"""The idle target by the hour: a table per rule, the four days on which clocks change, a check."""

from datetime import UTC, datetime, timedelta

import pytest

from fleet.config.model import IdleConfig
from fleet.rules.schedule import idle_target

BERLIN = "Europe/Berlin"  # +1; +2 from 2026-03-29 01:00 UTC to 2026-10-25 01:00 UTC
NEW_YORK = "America/New_York"  # -5; -4 from 2026-03-08 07:00 UTC to 2026-11-01 06:00 UTC
SOUTH = "Australia/Lord_Howe"  # +10:30; +11, half an hour, from 2026-10-03 15:30 UTC


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


CHANGES = [
    # Berlin skips 02:00 to 03:00 on 2026-03-29, at 01:00 UTC
    (BERLIN, "sun 02:30-06:00 1", "2026-03-29", "01:00", "04:00", "opens when it is skipped"),
    (BERLIN, "sun 01:00-02:30 1", "2026-03-29", "00:00", "01:00", "closes when it is skipped"),
    (BERLIN, "sun 01:30-03:30 1", "2026-03-29", "00:30", "01:30", "around the skipped hour"),
    (BERLIN, "sun 03:00-04:00 1", "2026-03-29", "01:00", "02:00", "from the end of the gap"),
    # Berlin shows 02:00 to 03:00 twice on 2026-10-25, at 00:00 and at 01:00 UTC
    (BERLIN, "sun 02:30-06:00 1", "2026-10-25", "00:30", "05:00", "opens at the first"),
    (BERLIN, "sun 01:00-02:30 1", "2026-10-24", "23:00", "01:30", "closes at the second"),
    (BERLIN, "sun 02:00-03:00 1", "2026-10-25", "00:00", "02:00", "lasts two hours"),
    (BERLIN, "sat 22:00-02:30 1", "2026-10-24", "20:00", "01:30", "into the repeated hour"),
    # New York skips 02:00 to 03:00 on 2026-03-08, at 07:00 UTC
    (NEW_YORK, "sun 02:15-04:00 1", "2026-03-08", "07:00", "08:00", "opens when it is skipped"),
    (NEW_YORK, "sat 22:00-02:15 1", "2026-03-08", "03:00", "07:00", "closes when it is skipped"),
    # New York shows 01:00 to 02:00 twice on 2026-11-01, at 05:00 and at 06:00 UTC
    (NEW_YORK, "sun 01:30-04:00 1", "2026-11-01", "05:30", "09:00", "opens at the first"),
    (NEW_YORK, "sun 00:00-01:30 1", "2026-11-01", "04:00", "06:30", "closes at the second"),
    # Lord Howe Island moves by half an hour
    (SOUTH, "sun 02:15-05:00 1", "2026-10-03", "15:30", "18:00", "half an hour is skipped"),
]


@pytest.mark.parametrize(
    ("zone", "text", "day", "opens", "closes"),
    [pytest.param(*case[:5], id=f"{case[0]}: {case[5]}") for case in CHANGES],
)
def test_days_on_which_the_clock_changes(
    zone: str, text: str, day: str, opens: str, closes: str
) -> None:
    config = idle(text, zone=zone)
    opened, closed = utc(f"{day} {opens}"), utc(f"{day} {closes}")
    closed += timedelta(days=closed < opened)
    second = timedelta(seconds=1)
    moments = [opened - second, opened, closed - second, closed]
    assert [idle_target(config, moment) for moment in moments] == [0, 1, 1, 0]


def test_a_window_within_the_skipped_hour_does_not_open_that_day() -> None:
    config = idle("sun 02:15-02:45 1", zone=BERLIN)
    skipped = utc("2026-03-29 00:00")
    assert not any(idle_target(config, skipped + timedelta(minutes=5 * n)) for n in range(48))
    assert idle_target(config, utc("2026-04-05 00:15")) == 1


def test_at_may_be_in_any_zone() -> None:
    at = datetime.fromisoformat("2026-08-20T02:00:00-05:00")  # 07:00 UTC, 09:00 in Berlin
    assert idle_target(WORK, at) == 2
