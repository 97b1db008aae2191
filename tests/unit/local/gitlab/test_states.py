"""GitLab's state machine as tables: what follows what, and how many states make one."""

from collections.abc import Callable

import pytest

from local.gitlab.states import (
    ACTIVE,
    COMPLETED,
    FINISHED,
    TRANSITIONS,
    Counted,
    Mark,
    Status,
    counts_as,
    decide_start,
    status_of,
    status_of_needs,
)

S = Status


def test_a_finished_job_stays_as_it_is_and_skipped_is_completed_only() -> None:
    assert {over: TRANSITIONS[over] for over in FINISHED} == dict.fromkeys(FINISHED, frozenset())
    assert {S.SKIPPED} == COMPLETED - FINISHED
    assert not ACTIVE & COMPLETED


@pytest.mark.parametrize(
    ("status", "allow_failure", "counted"),
    [
        (S.FAILED, False, S.FAILED),
        (S.FAILED, True, Mark.WARNING),
        (S.CANCELED, True, Mark.WARNING),
        (S.MANUAL, True, Mark.IGNORED),  # optional
        (S.MANUAL, False, S.MANUAL),  # it blocks
        (S.SUCCESS, True, S.SUCCESS),
        (S.RUNNING, True, S.RUNNING),
    ],
)
def test_what_one_job_counts_as(status: Status, allow_failure: bool, counted: Counted) -> None:
    assert counts_as(status, allow_failure=allow_failure) is counted


WARNING, IGNORED = Mark.WARNING.value, Mark.IGNORED.value
OF_STAGES = [
    ("", "success"),
    ("success", "success"),
    ("success skipped", "success"),
    (f"success {WARNING}", "success"),
    (WARNING, "success"),
    ("skipped", "skipped"),
    (IGNORED, "skipped"),
    ("created", "created"),
    ("preparing", "preparing"),
    ("canceled success", "canceled"),
    ("pending created", "pending"),
    ("pending skipped", "pending"),
    ("running failed", "running"),
    ("pending success", "running"),
    ("pending failed", "running"),
    ("canceling success", "canceling"),
    ("waiting_for_resource success", "waiting_for_resource"),
    ("manual success", "manual"),
    ("scheduled success", "scheduled"),
    ("created success", "running"),
    ("failed success", "failed"),
    ("failed skipped", "failed"),
    ("failed canceled", "failed"),
]
OF_NEEDS = [
    ("", "success"),
    ("success", "success"),
    ("success skipped", "skipped"),
    (f"success {IGNORED}", "skipped"),
    ("success running", "pending"),
    ("created", "pending"),
    ("manual", "pending"),
    ("failed success", "failed"),
    (WARNING, "success"),
    ("canceled", "canceled"),
]


@pytest.mark.parametrize(
    ("rule", "counted", "status"),
    [
        *((status_of, *row) for row in OF_STAGES),
        *((status_of_needs, *row) for row in OF_NEEDS),
    ],
)
def test_many_states_make_one(rule: Callable[..., Status], counted: str, status: str) -> None:
    words: set[Counted] = {
        Mark(word) if word in (WARNING, IGNORED) else Status(word) for word in counted.split()
    }
    assert rule(words) == status


@pytest.mark.parametrize(
    ("when", "by_needs", "starts"),
    [
        ("on_success", False, "success:pending skipped:pending failed:skipped canceled:skipped"),
        ("on_success", True, "skipped:skipped success:pending"),
        ("on_failure", False, "success:skipped failed:pending"),
        ("on_failure", True, "failed:pending"),
        ("always", False, "failed:pending success:pending canceled:skipped"),
        ("always", True, "skipped:pending"),
        ("manual", False, "success:manual failed:skipped"),
        ("delayed", False, "success:scheduled failed:skipped"),
    ],
)
def test_a_job_starts_after_the_end_of_earlier_ones(when: str, by_needs: bool, starts: str) -> None:
    for pair in starts.split():
        earlier, _, start = pair.partition(":")
        assert decide_start(when, Status(earlier), by_needs=by_needs) == start, pair
    for waiting in (S.RUNNING, S.PENDING):
        assert decide_start(when, waiting, by_needs=by_needs) is None
