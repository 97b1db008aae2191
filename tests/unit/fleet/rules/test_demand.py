"""What becomes of a demand message and of a dead letter."""

import pytest

from fleet.model import Job, JobStatus
from fleet.reasons import Reason
from fleet.rules.demand import hidden_s, is_behind, is_dead_letter_settled, waits_in
from tests.unit.fleet.facts import job, key


@pytest.mark.parametrize(
    ("row", "waits", "behind", "settled"),
    [
        pytest.param(job(1), True, True, True, id="it waits, and the index lags"),
        pytest.param(job(2), True, False, True, id="it waits, as the index shows"),
        pytest.param(job(1, pool="other"), False, False, True, id="it left for another pool"),
        pytest.param(job(1, reason=Reason.COVERED), False, False, True, id="a runner is there"),
        pytest.param(job(1, given_up=True), False, False, False, id="it is given up"),
        pytest.param(job(1, status=JobStatus.FINISHED), False, False, True, id="it is over"),
    ],
)
def test_what_becomes_of_a_message_and_of_a_dead_letter(
    row: Job, waits: bool, behind: bool, settled: bool
) -> None:
    assert waits_in(row, "docker") is waits
    assert is_behind(row, {"docker": frozenset({key(2)})}) is behind
    assert is_dead_letter_settled(row, times=2) is settled
    assert not is_dead_letter_settled(row, times=1), "its row may not say yet that it is given up"


def test_a_job_that_is_gone_needs_neither() -> None:
    assert not waits_in(None, "docker")
    assert is_dead_letter_settled(None, times=2)


@pytest.mark.parametrize(
    ("times", "seconds"), [(1, 1), (2, 2), (5, 16), (10, 512), (11, 900), (99, 900)]
)
def test_the_message_of_a_waiting_job_is_hidden_twice_as_long_each_time(
    times: int, seconds: int
) -> None:
    assert hidden_s(times) == seconds
