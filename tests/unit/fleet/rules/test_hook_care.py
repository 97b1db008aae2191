"""What is done about a webhook."""

from dataclasses import dataclass

import pytest

from fleet.rules.hook_care import decide_hook
from fleet.rules.hook_health import HookFault

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
