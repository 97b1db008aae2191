"""Whether GitLab's deliveries get through, and what is done about a webhook."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from fleet.rules.hook_health import Delivered, HookFault, decide_hook, judge_deliveries

AT = datetime(2026, 11, 26, 8, tzinfo=UTC)


def delivered(*statuses: int | None) -> list[Delivered]:
    """Deliveries with these answers, newest first, a minute apart."""
    return [Delivered(status=s, at=AT - timedelta(minutes=n)) for n, s in enumerate(statuses)]


@pytest.mark.parametrize(
    ("statuses", "says", "needs_secret"),
    [
        ((), None, False),
        ((202,), None, False),
        ((200, 401, 401), None, False),
        ((301, 401), None, False),
        ((401,), "refused (401)", True),
        ((401, 202, 202), "refused (401)", True),
        ((404, 202), "refused (404)", False),
        ((415,), "refused (415)", False),
        ((429, 202), None, False),
        ((503, 202, 202), None, False),
        ((503, 503, 202), None, False),
        ((503, 500, None), "answered 503", False),
        ((None, None, None, 202), "no answer", False),
    ],
)
def test_the_newest_deliveries_count(
    statuses: tuple[int | None, ...], says: str | None, needs_secret: bool
) -> None:
    for order in permutations(delivered(*statuses)):
        fault = judge_deliveries(order)
        if says is None:
            assert fault is None
        else:
            assert isinstance(fault, HookFault)
            assert says in fault.detail
            assert fault.needs_secret is needs_secret


def test_what_was_refused_before_the_last_registration_is_over() -> None:
    listed = delivered(401, 401)
    assert judge_deliveries(listed, since=AT) is None
    assert judge_deliveries(listed, since=AT - timedelta(seconds=1)) is not None


# What is done about it

REFUSED = HookFault(detail="refused")
WRONG_SECRET = HookFault(detail="refused", needs_secret=True)


@dataclass(frozen=True)
class Health:
    """A webhook as GitLab shows it."""

    alert_status: str
    is_customized: bool = False

    @property
    def is_executable(self) -> bool:
        return self.alert_status == "executable"


ON, OFF = Health("executable"), Health("disabled")


@pytest.mark.parametrize(
    ("health", "fault", "is_sick", "test"),
    [
        pytest.param(ON, None, False, False, id="healthy"),
        pytest.param(Health("executable", is_customized=True), None, True, False, id="customized"),
        pytest.param(ON, REFUSED, True, False, id="its deliveries fail"),
        pytest.param(OFF, None, True, True, id="switched off: a test may switch it on"),
        pytest.param(OFF, REFUSED, True, True, id="also where deliveries failed"),
        pytest.param(OFF, WRONG_SECRET, True, False, id="a test would fail for its secret"),
        pytest.param(None, None, True, False, id="deleted"),
    ],
)
def test_a_webhook_that_gitlab_switched_off_is_tested(
    health: Health | None, fault: HookFault | None, is_sick: bool, test: bool
) -> None:
    plan = decide_hook(health, fault)
    assert (plan.detail is not None, plan.test) == (is_sick, test)
