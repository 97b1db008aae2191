"""Which runner a job ran on: claims count for nothing against GitLab's word."""

from dataclasses import dataclass, replace

import pytest

from fleet.model import Job, JobKey, Runner, RunnerState
from fleet.rules.job_runner import (
    awaits_word,
    claimant,
    may_cancel,
    may_have_taken,
    possible_runners,
    ran_here,
    ran_on,
    runs_unclaimed,
)
from tests.unit.fleet.facts import AT, ago, job, key, runner

BUSY, DONE = RunnerState.BUSY, RunnerState.DONE
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
        pytest.param(OURS, job(1, runner_id="rf-2"), Shown(11), True, id="GitLab goes first"),
        pytest.param(OURS, job(1, runner_id="rf-1"), Shown(12), False, id="also against it"),
        pytest.param(OURS, job(1, runner_id="rf-2"), None, False, id="the row, without GitLab"),
        pytest.param(SHARED, job(1), Shown(6), False, id="another record than the pool's"),
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
        (job(1), "another program's", False, False, False),
        (job(1, runner_id="rf-1"), "another program's", False, False, True),
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
def test_a_job_on_a_shared_record_may_be_of_any_machine_without_a_job(
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


@pytest.mark.parametrize(
    ("record", "others", "expected"),
    [
        pytest.param(5, (), "rf-1", id="GitLab shows the job on their record"),
        pytest.param(6, (), None, id="on another record"),
        pytest.param(None, (), None, id="on none"),
        pytest.param(5, (replace(SHARED, id="rf-2", claim=key(1)),), None, id="two claim it"),
        pytest.param(5, (replace(SHARED, id="rf-2", claim=key(2)),), "rf-1", id="another job"),
    ],
)
def test_a_claim_counts_where_gitlab_shows_the_job_on_the_shared_record(
    record: int | None, others: tuple[Runner, ...], expected: str | None
) -> None:
    runner = claimant(job(1), record, (replace(SHARED, claim=key(1)), *others))
    assert (runner.id if runner else None) == expected


def test_a_machine_that_gitlab_named_for_a_job_claims_no_other() -> None:
    assert claimant(job(1), 5, [replace(SHARED, claim=key(1), job=key(2))]) is None


def test_a_claim_never_frees_another_machine() -> None:
    """Of two that claim one job either may have it."""
    this, other = (replace(SHARED, id=name, claim=key(1)) for name in ("rf-1", "rf-2"))
    assert runs_unclaimed(this, [key(1)], (this, other))
    assert runs_unclaimed(this, [key(1)], (this, replace(other, job=key(1))))
    assert runs_unclaimed(runner("rf-3"), [key(1)], (this, other))


@pytest.mark.parametrize(
    ("runner", "expected"),
    [
        pytest.param(runner("r", BUSY, claim=key(1)), True, id="GitLab may say so any moment"),
        pytest.param(runner("r", DONE, claim=key(1)), True, id="a short job is over already"),
        pytest.param(runner("r", DONE, claim=key(1), claimed_at=ago(60)), False, id="over, late"),
        pytest.param(runner("r", BUSY, claim=key(2)), False, id="that job does not wait"),
        pytest.param(runner("r", BUSY), False, id="it names no job"),
        pytest.param(runner("r", BUSY, claim=key(1), job=key(3)), False, id="it has another"),
        pytest.param(runner("r", claim=key(1)), False, id="its report says idle"),
        pytest.param(
            runner("r", BUSY, claim=key(1), is_called_off=True), False, id="it is called off"
        ),
        pytest.param(
            runner("r", BUSY, claim=key(1), claimed_at=ago(59)), True, id="for a minute at most"
        ),
        pytest.param(
            runner("r", BUSY, claim=key(1), claimed_at=ago(60)), False, id="not for longer"
        ),
    ],
)
def test_a_claim_to_a_waiting_job_is_worth_a_minute(runner: Runner, expected: bool) -> None:
    assert awaits_word(runner, {key(1)}, AT) is expected


@pytest.mark.parametrize(
    ("runner", "shown", "expected"),
    [
        (OURS, Shown(11), True),
        (OURS, Shown(12), False),
        (OURS, None, False),
        (SHARED, Shown(5), False),
    ],
)
def test_only_gitlabs_word_on_this_machine_has_a_running_job_cancelled(
    runner: Runner, shown: Shown | None, expected: bool
) -> None:
    assert may_cancel(runner, shown) is expected
