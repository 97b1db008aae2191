"""The options of the simulated GitLab, and its clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from local.gitlab.options import Clock, Options


@pytest.mark.parametrize(
    ("version", "has_token"),
    [("18.11.2", False), ("19.0.0", True), ("19.3.0-ee", True), ("20.1.0", True)],
)
def test_signing_tokens_need_version_19(version: str, has_token: bool) -> None:
    assert Options(gitlab_version=version).has_signing_token is has_token


def test_the_clock_is_the_real_clock_plus_the_skipped_time() -> None:
    clock = Clock()
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)
    clock.advance(timedelta(hours=2))
    clock.advance(timedelta(minutes=1))
    ahead = clock.now() - datetime.now(UTC)
    assert abs(ahead - timedelta(hours=2, minutes=1)) < timedelta(seconds=5)
