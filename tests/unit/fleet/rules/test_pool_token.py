"""When a pool's own token is shown to GitLab, and when it is made anew."""

from datetime import datetime, timedelta

import pytest

from fleet.errors import Refused
from fleet.rules.pool_token import (
    is_check_due,
    is_dead,
    is_presence_due,
    is_renewal_due,
    outlived,
)
from tests.unit.fleet.configs import pool_of
from tests.unit.fleet.facts import AT

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
# A machine needs five minutes to boot, five for its credential, and two to wait for its job.
POOL = pool_of("lambda", max_job_time="11m", boot_deadline="5m", wait_timeout="2m")


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


@pytest.mark.parametrize(
    ("life", "renewed_before"),
    [
        pytest.param(24 * HOUR, 6 * HOUR, id="after three quarters of its life"),
        pytest.param(2 * HOUR, 30 * MINUTE, id="of GitLab's shortest one, too"),
        pytest.param(40 * MINUTE, 12 * MINUTE, id="or while a machine still has the time"),
        pytest.param(20 * MINUTE, 10 * MINUTE, id="but not before half of its life"),
    ],
)
def test_a_token_is_replaced_while_machines_can_use_it(
    life: timedelta, renewed_before: timedelta
) -> None:
    due = AT + life - renewed_before

    def is_due(at: datetime) -> bool:
        return is_renewal_due(POOL, made_at=AT, expires_at=AT + life, at=at)

    assert not is_due(due - MINUTE)
    assert is_due(due)
    assert is_due(AT + 2 * life)


def test_a_token_without_expiry_stays_and_a_token_of_unknown_age_lasts_as_machines_need() -> None:
    assert not is_renewal_due(POOL, made_at=AT, expires_at=None, at=AT + 999 * HOUR)
    ends = AT + HOUR
    assert not is_renewal_due(POOL, made_at=None, expires_at=ends, at=ends - 13 * MINUTE)
    assert is_renewal_due(POOL, made_at=None, expires_at=ends, at=ends - 12 * MINUTE)


def test_a_record_goes_when_it_was_replaced_long_ago_and_no_machine_has_it() -> None:
    former = {
        1: AT - 30 * MINUTE,
        2: AT - 29 * MINUTE,  # a function may still hand its token out
        3: AT - 2 * HOUR,  # a machine has it
        4: AT - 2 * HOUR,  # it is in force again
    }
    assert outlived(former, current=4, used=[3, None], at=AT) == {1}
