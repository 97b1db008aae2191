"""Durations in words, and variables put into text."""

from __future__ import annotations

import pytest

from local.gitlab.ci.values import expand, read_duration_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90 seconds", 90),
        ("90s", 90),
        ("3600", 3600),
        ("1h 30m", 5400),
        ("1h30m", 5400),
        ("3 hours and 15 minutes", 11700),
        ("1 hour, 1 minute", 3660),
        ("1.5 h", 5400),
        ("2 hrs 20 min", 8400),
        ("1 day", 86400),
        ("1 week", 604800),
        ("1 month", 2592000),
        ("1 mo", 2592000),
        ("1 yr", 31536000),
        ("1 Week", 604800),
    ],
)
def test_durations_are_read_as_gitlab_reads_them(text: str, seconds: int) -> None:
    assert read_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "5 parsecs", "1h tomorrow", "h", "-5 minutes"])
def test_what_is_no_duration(text: str) -> None:
    assert read_duration_s(text) is None


def test_known_variables_are_put_in_and_others_stay() -> None:
    known = {"A": "1", "B_2": "two"}
    assert expand("$A-${B_2}-$C-${C}-$", known) == "1-two-$C-${C}-$"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1 sec", 1),
        ("2 secs", 2),
        ("3 min", 180),
        ("1 hr", 3600),
        ("2 hrs", 7200),
        ("1d", 86400),
        ("2w", 1209600),
        ("1 mo", 2592000),
        ("1 month", 2592000),
        ("1y", 31536000),
        ("2 yrs", 63072000),
        ("1.5h", 5400),
        ("1 hour and 30 minutes", 5400),
        ("1h, 30m", 5400),
        ("1h 1h", 7200),
    ],
)
def test_every_unit_of_time(text: str, seconds: int) -> None:
    assert read_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "1 fortnight", "h", "1h soon", "-5"])
def test_what_is_no_time(text: str) -> None:
    assert read_duration_s(text) is None
