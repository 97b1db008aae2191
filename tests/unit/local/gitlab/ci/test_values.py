"""Durations in words, and variables in texts."""

from __future__ import annotations

import pytest

from local.gitlab.ci.values import expand, read_duration_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3600", 3600),
        ("1 sec", 1),
        ("2 secs", 2),
        ("90s", 90),
        ("90 seconds", 90),
        ("3 min", 180),
        ("1h30m", 5400),
        ("1h 1h", 7200),
        ("1.5 h", 5400),
        ("2 hrs 20 min", 8400),
        ("1 hour, 1 minute", 3660),
        ("3 hours and 15 minutes", 11700),
        ("1d", 86400),
        ("1 day", 86400),
        ("2w", 1209600),
        ("1 Week", 604800),
        ("1 mo", 2592000),
        ("1 month", 2592000),
        ("1y", 31536000),
        ("2 yrs", 63072000),
        *(
            (text, None)
            for text in ("", "soon", "5 parsecs", "1h tomorrow", "h", "-5 minutes", "-5")
        ),
    ],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: int | None) -> None:
    assert read_duration_s(text) == seconds


def test_unknown_variables_stay_as_written() -> None:
    known = {"A": "1", "B_2": "two"}
    assert expand("$A-${B_2}-$C-${C}-$", known) == "1-two-$C-${C}-$"
