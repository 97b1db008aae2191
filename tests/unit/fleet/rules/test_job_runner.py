"""Which runner a job ran on: claims count for nothing against GitLab's word."""

from dataclasses import dataclass

import pytest

from fleet.model import Job, JobKey, Runner, RunnerState
from fleet.rules.job_runner import (
    claimant,
    may_have_taken,
    possible_runners,
    ran_here,
    ran_on,
    runs_unclaimed,
)
from tests.unit.fleet.facts import job, key, runner

OURS = runner("rf-1", gitlab_runner_id=11)
SHARED = runner("rf-1", pool_record_id=5)


@dataclass(frozen=True)
class Shown:
    """A job as GitLab shows it."""

    runner_id: int | None


@pytest.mark.parametrize(
    ("where", "row", "shown", "expected"),
    [
        pytest.param(OURS, None, Shown(11), True, id="GitLab shows it there"),
        pytest.param(OURS, None, Shown(12), False, id="GitLab shows it elsewhere"),
        pytest.param(OURS, job(1), Shown(None), False, id="GitLab gave it to no runner"),
        pytest.param(OURS, job(1), None, True, id="GitLab has it no longer"),
        pytest.param(SHARED, job(1), Shown(5), True, id="one record for all machines"),
        pytest.param(SHARED, job(1, runner_id="rf-1"), Shown(5), True, id="a webhook named it"),
        pytest.param(SHARED, job(1, runner_id="rf-2"), Shown(5), False, id="or another"),
        pytest.param(OURS, job(1, runner_id="rf-2"), Shown(11), False, id="the row goes first"),
    ],
)
def test_a_job_is_a_runners_by_webhook_or_by_gitlab(
    where: Runner, row: Job | None, shown: Shown | None, expected: bool
) -> None:
    assert ran_on(where, row, shown) is expected


@pytest.mark.parametrize(
    ("row", "described", "is_ours", "shared", "expected"),
    [
        (job(1), "rf-1 (demo)", True, False, True),
        (job(1), "somebody else's", False, False, False),
        (job(1, runner_id="rf-1"), "somebody else's", False, False, True),
        (job(1), None, False, False, True),
        (job(1), "fleet pool docker", False, True, True),
    ],
)
def test_what_others_machines_fail_is_not_the_fleets(
    row: Job, described: str | None, is_ours: bool, shared: bool, expected: bool
) -> None:
    assert ran_here(row, described=described, is_ours=is_ours, shared=shared) is expected


@pytest.mark.parametrize(
    ("state", "equipped", "took", "expected"),
    [
        (RunnerState.IDLE, True, None, True),
        (RunnerState.IN_FLIGHT, False, None, False),
        (RunnerState.DONE, True, None, False),
        (RunnerState.DONE, True, key(1), True),
        (RunnerState.BUSY, False, key(1), True),
    ],
)
def test_a_runner_with_a_credential_may_have_a_job(
    state: RunnerState, equipped: bool, took: JobKey | None, expected: bool
) -> None:
    assert may_have_taken(runner("r", state, equipped=equipped, job=took)) is expected


@pytest.mark.parametrize(
    ("running", "expected"),
    [((), False), ((1,), False), ((2,), True), ((1, 2), True), ((3,), True)],
)
def test_a_job_on_a_shared_record_may_be_that_of_any_machine_without_one(
    running: tuple[int, ...], expected: bool
) -> None:
    this = runner("this", job=key(2))
    living = (this, runner("other", job=key(1)), runner("idle"))
    assert runs_unclaimed(this, map(key, running), living) is expected


@pytest.mark.parametrize(
    ("described", "row", "expected"),
    [
        (None, job(1), ()),
        ("rf-2", job(1), ("rf-2",)),
        (None, job(1, runner_id="rf-1"), ("rf-1",)),
        ("rf-2", job(1, runner_id="rf-1"), ("rf-2", "rf-1")),
    ],
)
def test_gitlabs_name_for_the_runner_goes_before_the_ledgers(
    described: str | None, row: Job, expected: tuple[str, ...]
) -> None:
    assert possible_runners(row, described) == expected


def test_a_machine_claims_the_job_that_it_reports() -> None:
    living = [runner("rf-1"), runner("rf-2", job=key(1)), runner("rf-3", job=key(2))]
    assert claimant(job(1), living) is living[1]
    assert claimant(job(9), living) is None
