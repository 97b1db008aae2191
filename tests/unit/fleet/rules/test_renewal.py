"""When a pool's runner token is made anew."""

from datetime import datetime, timedelta

import pytest

from fleet.rules.renewal import is_renewal_due, outlived
from tests.unit.fleet.configs import pool_of
from tests.unit.fleet.facts import AT

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
# A machine needs five minutes to boot, five for its credential, and two to wait for its job.
POOL = pool_of("lambda", max_job_time="11m", boot_deadline="5m", wait_timeout="2m")


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
