"""Periods of gitlab-runner as windows: the same count in each minute of the week."""

import pytest
from hypothesis import given, settings, strategies as st

from fleet.config.weekly import CountedPeriods, counts_of_week, minutes_of, windows_of

DAY = 24 * 60


@pytest.mark.parametrize(
    ("period", "minutes"),
    [
        ("* * * * *", 7 * DAY),
        ("* * * * * * *", 7 * DAY),  # docker+machine's seven fields
        ("* * 9-17 * * mon-fri *", 5 * 9 * 60),
        ("* 7-19 * * mon-fri", 5 * 13 * 60),
        ("30-59 8 * * 1", 30),
        ("*/30 8,20 ? * sat,sun", 2 * 2 * 2),
        ("0 0-22/2 * * 7", 12),
        ("* * * * 0", DAY),
        ("* * * * SUN", DAY),
    ],
)
def test_how_many_minutes_a_period_has(period: str, minutes: int) -> None:
    assert len(set(minutes_of(period))) == minutes


def test_sunday_is_the_last_day_whatever_it_is_called() -> None:
    for name in ("0", "7", "sun"):
        assert min(minutes_of(f"* * * * {name}")) == 6 * DAY


@pytest.mark.parametrize(
    "period",
    [
        *("", "* * *", "* * 1 * *", "* * * jan *", "0 * * * * * *", "* * * * * * 2026"),
        *("* 25 * * *", "* 17-9 * * *", "* x * * *", "*/0 * * * *", "* * * * mon-fri-sat"),
        "* * * * fri-mon",
    ],
)
def test_a_period_that_is_not_weekly_is_refused(period: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        list(minutes_of(period))


def test_the_last_policy_counts_and_less_at_weekends_is_more_on_weekdays() -> None:
    work = CountedPeriods(periods=("* 9-17 * * mon-fri",), count=20)
    weekend = CountedPeriods(periods=("* * * * sat,sun",), count=0)
    base, windows = windows_of(counts_of_week(5, [work, weekend]))
    assert base == 0
    assert [(window.toml, window.count) for window in windows] == [
        ('days = "mon-fri", from = "00:00", to = "09:00"', 5),
        ('days = "mon-fri", from = "09:00", to = "18:00"', 20),
        ('days = "mon-fri", from = "18:00", to = "24:00"', 5),
    ]


@settings(max_examples=40)
@given(
    st.integers(0, 9),
    st.lists(
        st.tuples(st.integers(0, 23), st.integers(0, 23), st.sets(st.integers(0, 6), min_size=1)),
        max_size=4,
    ),
)
def test_windows_say_what_the_policies_say(
    base: int, drawn: list[tuple[int, int, set[int]]]
) -> None:
    policies = [
        CountedPeriods(
            periods=(f"* {min(a, b)}-{max(a, b)} * * {','.join(map(str, sorted(days)))}",),
            count=place,
        )
        for place, (a, b, days) in enumerate(drawn)
    ]
    week = counts_of_week(base, policies)
    lowest, windows = windows_of(week)
    again = [lowest] * len(week)
    for window in windows:
        for day in window.days:
            for minute in range(day * DAY + window.start, day * DAY + window.end):
                again[minute] = max(again[minute], window.count)  # the highest count wins
    assert again == week
