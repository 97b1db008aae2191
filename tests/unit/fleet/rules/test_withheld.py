"""Whether GitLab kept a job from a runner that was ready for it."""

import pytest

from fleet.errors import FleetError, Refused, Transient
from fleet.rules.withheld import was_withheld


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("created", True),
        ("pending", True),
        ("waiting_for_resource", True),
        ("running", False),
        ("canceling", False),
        ("success", False),
        (None, True),
        (Refused("gone", status=404), True),
        (Refused("not allowed", status=403), True),
        (Refused("dead token", status=401), False),
        (Transient("out", status=502), False),
    ],
)
def test_in_doubt_an_outage_costs_no_attempt(
    answer: str | FleetError | None, expected: bool
) -> None:
    assert was_withheld(answer) is expected
