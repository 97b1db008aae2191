"""The three ways GitLab writes an instant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from local.gitlab.dates import api_date, hook_date, iso_date

INSTANT = datetime(2026, 8, 20, 9, 15, 1, 123456, tzinfo=UTC)
ELSEWHERE = INSTANT.astimezone(timezone(timedelta(hours=2)))


@pytest.mark.parametrize("at", [INSTANT, ELSEWHERE])
def test_all_are_in_utc(at: datetime) -> None:
    assert api_date(at) == "2026-08-20T09:15:01.123Z"
    assert hook_date(at) == "2026-08-20 09:15:01 UTC"
    assert iso_date(at) == "2026-08-20T09:15:01Z"


@pytest.mark.parametrize("write", [api_date, hook_date, iso_date])
def test_never_is_null(write: object) -> None:
    assert callable(write)
    assert write(None) is None
