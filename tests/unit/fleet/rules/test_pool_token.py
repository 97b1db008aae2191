"""When a pool's own token is shown to GitLab."""

from datetime import timedelta

import pytest

from fleet.errors import Refused
from fleet.rules.pool_token import is_check_due, is_dead, is_presence_due
from tests.unit.fleet.facts import AT


@pytest.mark.parametrize(("ago_s", "due"), [(None, True), (1799, False), (1800, True)])
def test_presence_is_shown_each_half_hour(ago_s: int | None, due: bool) -> None:
    verified_at = AT - timedelta(seconds=ago_s) if ago_s is not None else None
    assert is_presence_due(verified_at, AT) is due


@pytest.mark.parametrize(
    ("ago_s", "in_doubt", "due"),
    [(None, False, True), (59, False, False), (60, False, True), (0, True, True)],
)
def test_a_shared_token_is_trusted_for_a_minute_unless_in_doubt(
    ago_s: int | None, in_doubt: bool, due: bool
) -> None:
    verified_at = AT - timedelta(seconds=ago_s) if ago_s is not None else None
    assert is_check_due(verified_at, AT, in_doubt=in_doubt) is due


@pytest.mark.parametrize(("status", "dead"), [(403, True), (401, False), (404, False)])
def test_only_a_forbidden_token_is_dead(status: int, dead: bool) -> None:
    assert is_dead(Refused(status=status)) is dead
