"""What the loss of a runner costs the job that it was launched for."""

import pytest

from fleet.errors import FleetError, Refused, Transient
from fleet.model import Job, JobStatus, Runner
from fleet.reasons import Reason
from fleet.rules.attempts import (
    AttemptPlan,
    Cost,
    decide_attempt,
    decide_cost,
    decide_cost_by_gitlab,
)
from tests.unit.fleet.facts import job, key, runner

WAITS = job(1)
IDLE = runner("r", for_job=key(1))
BUSY = runner("r", for_job=key(1), job=key(2))


@pytest.mark.parametrize(
    ("waits", "lost", "reason", "cost"),
    [
        (WAITS, IDLE, Reason.BOOT_DEADLINE, Cost.ATTEMPT),
        (WAITS, IDLE, Reason.MACHINE_GONE, Cost.ATTEMPT),
        (WAITS, IDLE, Reason.INVOCATION_FAILED, Cost.ATTEMPT),
        (WAITS, BUSY, Reason.MACHINE_GONE, Cost.NOTHING),
        (WAITS, IDLE, Reason.WENT_UNSERVED, Cost.ASK),
        (WAITS, IDLE, Reason.STALLED, Cost.ASK),
        (WAITS, IDLE, Reason.EXPIRED, Cost.ASK),
        (job(1, given_up=True), IDLE, Reason.BOOT_DEADLINE, Cost.NOTHING),
        (job(1, status=JobStatus.CREATED), IDLE, Reason.BOOT_DEADLINE, Cost.NOTHING),
        (job(1, status=JobStatus.RUNNING), IDLE, Reason.BOOT_DEADLINE, Cost.NOTHING),
        (job(1, status=JobStatus.FINISHED), IDLE, Reason.WENT_UNSERVED, Cost.NOTHING),
    ],
)
def test_the_end_of_a_runner_costs_a_job_that_waits_for_it(
    waits: Job, lost: Runner, reason: Reason, cost: Cost
) -> None:
    assert decide_cost(waits, lost, reason) is cost


def plan(attempt: int, reason: Reason) -> AttemptPlan:
    is_last = reason is Reason.ATTEMPTS_USED
    return AttemptPlan(attempt=attempt, given_up=is_last, reason=reason)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        pytest.param(job(1), job(1), plan(2, Reason.STALLED), id="the next"),
        pytest.param(
            job(1, attempt=2),
            job(1, attempt=2),
            plan(3, Reason.ATTEMPTS_USED),
            id="the last",
        ),
        pytest.param(
            job(1, attempt=3, forgiven=2),
            job(1, attempt=3, forgiven=2),
            plan(4, Reason.STALLED),
            id="renewed by an apply",
        ),
        pytest.param(job(1), job(1, attempt=2), None, id="another finder was first"),
        pytest.param(job(1), job(1, given_up=True), None, id="given up meanwhile"),
        pytest.param(job(1), None, None, id="the row is gone"),
    ],
)
def test_one_end_leads_to_one_attempt(
    before: Job, now: Job | None, expected: AttemptPlan | None
) -> None:
    assert decide_attempt(before, now, attempts=2, reason=Reason.STALLED) == expected


@pytest.mark.parametrize(
    ("answer", "withheld"),
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
def test_what_gitlab_withheld_costs_an_attempt_and_an_outage_none(
    answer: str | FleetError | None, withheld: bool
) -> None:
    assert decide_cost_by_gitlab(answer) is (Cost.ATTEMPT if withheld else Cost.NOTHING)
