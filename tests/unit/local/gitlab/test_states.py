"""GitLab's state machine as tables: what follows what, and how many states make one."""

from __future__ import annotations

from collections.abc import Set

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


def test_a_finished_job_stays_as_it_is() -> None:
    assert {over: TRANSITIONS[over] for over in FINISHED} == dict.fromkeys(FINISHED, frozenset())


def test_skipped_is_completed_but_not_finished() -> None:
    assert {S.SKIPPED} == COMPLETED - FINISHED
    assert not ACTIVE & COMPLETED


@pytest.mark.parametrize(
    ("status", "allow_failure", "counted"),
    [
        pytest.param(S.FAILED, False, S.FAILED, id="a failure counts"),
        pytest.param(S.FAILED, True, Mark.WARNING, id="an allowed failure is a warning"),
        pytest.param(S.CANCELED, True, Mark.WARNING, id="so is an allowed cancel"),
        pytest.param(S.MANUAL, True, Mark.IGNORED, id="an optional manual job is ignored"),
        pytest.param(S.MANUAL, False, S.MANUAL, id="a blocking manual job is not"),
        pytest.param(S.SUCCESS, True, S.SUCCESS, id="success is success"),
        pytest.param(S.RUNNING, True, S.RUNNING, id="running is running"),
    ],
)
def test_counts_as(status: Status, allow_failure: bool, counted: Counted) -> None:
    assert counts_as(status, allow_failure=allow_failure) is counted


@pytest.mark.parametrize(
    ("counted", "status"),
    [
        pytest.param(set(), S.SUCCESS, id="nothing before is as good as success"),
        pytest.param({S.SUCCESS}, S.SUCCESS, id="all succeeded"),
        pytest.param({S.SUCCESS, S.SKIPPED}, S.SUCCESS, id="skipped jobs do not spoil it"),
        pytest.param({S.SUCCESS, Mark.WARNING}, S.SUCCESS, id="with warnings is success"),
        pytest.param({Mark.WARNING}, S.SUCCESS, id="only warnings is success"),
        pytest.param({S.SKIPPED}, S.SKIPPED, id="all skipped"),
        pytest.param({Mark.IGNORED}, S.SKIPPED, id="only optional manual jobs"),
        pytest.param({S.CREATED}, S.CREATED, id="nothing began"),
        pytest.param({S.PREPARING}, S.PREPARING, id="all preparing"),
        pytest.param({S.CANCELED, S.SUCCESS}, S.CANCELED, id="canceled among successes"),
        pytest.param({S.PENDING, S.CREATED}, S.PENDING, id="waiting for runners"),
        pytest.param({S.PENDING, S.SKIPPED}, S.PENDING, id="waiting beside skipped"),
        pytest.param({S.RUNNING, S.FAILED}, S.RUNNING, id="runs on after a failure"),
        pytest.param({S.PENDING, S.SUCCESS}, S.RUNNING, id="half way is running"),
        pytest.param({S.PENDING, S.FAILED}, S.RUNNING, id="half way after a failure too"),
        pytest.param({S.CANCELING, S.SUCCESS}, S.CANCELING, id="canceling"),
        pytest.param({S.WAITING_FOR_RESOURCE, S.SUCCESS}, S.WAITING_FOR_RESOURCE, id="resource"),
        pytest.param({S.MANUAL, S.SUCCESS}, S.MANUAL, id="blocked by a manual job"),
        pytest.param({S.SCHEDULED, S.SUCCESS}, S.SCHEDULED, id="a delayed job is left"),
        pytest.param({S.CREATED, S.SUCCESS}, S.RUNNING, id="between stages is running"),
        pytest.param({S.FAILED, S.SUCCESS}, S.FAILED, id="one failure fails it"),
        pytest.param({S.FAILED, S.SKIPPED}, S.FAILED, id="failed and the rest skipped"),
        pytest.param({S.FAILED, S.CANCELED}, S.FAILED, id="failed beats canceled"),
    ],
)
def test_status_of(counted: Set[Counted], status: Status) -> None:
    assert status_of(counted) is status


@pytest.mark.parametrize(
    ("counted", "status"),
    [
        pytest.param(set(), S.SUCCESS, id="needs nothing: may start"),
        pytest.param({S.SUCCESS}, S.SUCCESS, id="the needed job succeeded"),
        pytest.param({S.SUCCESS, S.SKIPPED}, S.SKIPPED, id="one never ran"),
        pytest.param({S.SUCCESS, Mark.IGNORED}, S.SKIPPED, id="one is optional and manual"),
        pytest.param({S.SUCCESS, S.RUNNING}, S.PENDING, id="one is still running"),
        pytest.param({S.CREATED}, S.PENDING, id="not begun"),
        pytest.param({S.MANUAL}, S.PENDING, id="waits for a blocking manual job"),
        pytest.param({S.FAILED, S.SUCCESS}, S.FAILED, id="one failed"),
        pytest.param({Mark.WARNING}, S.SUCCESS, id="an allowed failure is fine"),
        pytest.param({S.CANCELED}, S.CANCELED, id="canceled"),
    ],
)
def test_status_of_needs(counted: Set[Counted], status: Status) -> None:
    assert status_of_needs(counted) is status


@pytest.mark.parametrize(
    ("when", "earlier", "by_needs", "start"),
    [
        ("on_success", S.SUCCESS, False, S.PENDING),
        ("on_success", S.SKIPPED, False, S.PENDING),
        ("on_success", S.SKIPPED, True, S.SKIPPED),
        ("on_success", S.FAILED, False, S.SKIPPED),
        ("on_success", S.CANCELED, False, S.SKIPPED),
        ("on_success", S.RUNNING, False, None),
        ("on_success", S.PENDING, True, None),
        ("on_failure", S.SUCCESS, False, S.SKIPPED),
        ("on_failure", S.FAILED, False, S.PENDING),
        ("on_failure", S.FAILED, True, S.PENDING),
        ("always", S.FAILED, False, S.PENDING),
        ("always", S.SUCCESS, False, S.PENDING),
        ("always", S.SKIPPED, True, S.PENDING),
        ("always", S.CANCELED, False, S.SKIPPED),
        ("always", S.RUNNING, False, None),
        ("manual", S.SUCCESS, False, S.MANUAL),
        ("manual", S.FAILED, False, S.SKIPPED),
        ("delayed", S.SUCCESS, False, S.SCHEDULED),
        ("delayed", S.FAILED, False, S.SKIPPED),
    ],
)
def test_decide_start(when: str, earlier: Status, by_needs: bool, start: Status | None) -> None:
    assert decide_start(when, earlier, by_needs=by_needs) is start
