"""Whether a job runs once more: the rule as a table of sentences."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from fleet.machine.mailbox import MachineState, Report
from fleet.reasons import Reason
from fleet.rules.liveness import with_report
from fleet.rules.retry import (
    INFRA_FAILURES,
    RetryFacts,
    RetryPlan,
    decide_retry,
    facts_now,
    is_retry_allowed,
    may_gitlab_lag,
    ran_again,
)
from fleet.steps import Outcome
from tests.unit.fleet.facts import AT, ago, job, runner

LOST = RetryFacts(allowed=True, outcome=None, failure_reason=None, machine_lost=True, retried=False)
BLAMED = replace(LOST, outcome="failed", failure_reason="runner_system_failure")

# Every failure reason of GitLab that is not the runner's side. Source: `Enums::Ci::CommitStatus`.
OTHERS = """
    unknown_failure script_failure api_failure stuck_or_timeout_failure missing_dependency_failure
    runner_unsupported stale_schedule job_execution_timeout archived_failure unmet_prerequisites
    scheduler_failure data_integrity_failure forward_deployment_failure user_blocked
    project_deleted ci_quota_exceeded pipeline_loop_detected no_matching_runner trace_size_exceeded
    builds_disabled environment_creation_failure deployment_rejected
    failed_outdated_deployment_job stuck_pending_with_matching_runners
    stuck_pending_no_matching_runners server_timeout_canceling runner_configuration_error
"""


RETRIES: dict[str, Any] = {
    "the machine is lost and GitLab does not know": (
        LOST, RetryPlan(retry=True, reason=Reason.INFRA_RETRY, cancel_first=True)
    ),
    "GitLab blames the runner": (BLAMED, RetryPlan(retry=True, reason=Reason.INFRA_RETRY)),
    "GitLab's word is enough": (
        replace(BLAMED, machine_lost=False), RetryPlan(retry=True, reason=Reason.INFRA_RETRY)
    ),
    "off": (replace(LOST, allowed=False), RetryPlan(retry=False, reason=Reason.RETRY_OFF)),
    "once is enough": (
        replace(LOST, retried=True), RetryPlan(retry=False, reason=Reason.ALREADY_RETRIED)
    ),
    "what the user can change is said": (
        replace(LOST, allowed=False, retried=True), RetryPlan(retry=False, reason=Reason.RETRY_OFF)
    ),
    "it runs, nothing is wrong": (
        replace(LOST, machine_lost=False), RetryPlan(retry=False, reason=Reason.RUNNING)
    ),
    "it succeeded before its machine went": (
        replace(LOST, outcome="success"), RetryPlan(retry=False, reason=Reason.FINISHED)
    ),
    "a person cancelled it": (
        replace(LOST, outcome="canceled"), RetryPlan(retry=False, reason=Reason.FINISHED)
    ),
    "cancelled, whatever reason GitLab has beside it": (
        replace(BLAMED, outcome="canceled"), RetryPlan(retry=False, reason=Reason.FINISHED)
    ),
    "its script failed, on a machine that went later": (
        replace(BLAMED, failure_reason="script_failure"),
        RetryPlan(retry=False, reason=Reason.SCRIPT_FAILED)
    ),
    "failed for no known reason": (
        replace(BLAMED, failure_reason=None), RetryPlan(retry=False, reason=Reason.SCRIPT_FAILED)
    ),
}  # fmt: skip


@pytest.mark.parametrize(("facts", "plan"), RETRIES.values(), ids=RETRIES)
def test_decide_retry(facts: RetryFacts, plan: RetryPlan) -> None:
    assert decide_retry(facts) == plan


@pytest.mark.parametrize("failure_reason", sorted(INFRA_FAILURES))
def test_retries_what_the_runners_side_failed(failure_reason: str) -> None:
    assert decide_retry(replace(BLAMED, failure_reason=failure_reason)).retry


@pytest.mark.parametrize("failure_reason", OTHERS.split())
def test_never_retries_what_the_job_or_a_person_failed(failure_reason: str) -> None:
    assert not decide_retry(replace(BLAMED, failure_reason=failure_reason)).retry


def test_never_more_than_once_never_where_it_is_off_and_never_for_a_script() -> None:
    reasons = (None, "script_failure", "unknown_failure", *INFRA_FAILURES)
    outcomes = (None, "success", "failed", "canceled", "skipped")
    claims = (True, False)
    for allowed, retried, lost in product(claims, claims, claims):
        for outcome, failure_reason in product(outcomes, reasons):
            facts = RetryFacts(
                allowed=allowed,
                outcome=outcome,
                failure_reason=failure_reason,
                machine_lost=lost,
                retried=retried,
            )
            plan = decide_retry(facts)
            if plan.retry:
                assert allowed
                assert not retried
                assert outcome in {None, "failed"}
                assert outcome is None or failure_reason in INFRA_FAILURES
            assert plan.retry or not plan.cancel_first
            assert plan.retry == (plan.reason is Reason.INFRA_RETRY)


@pytest.mark.parametrize(
    ("pool", "infra_retry", "expected"),
    [
        ("docker", True, True),
        ("docker", False, False),
        ("taken away by apply", None, True),
        (None, None, False),
    ],
)
def test_a_pool_may_forbid_the_retry(
    pool: str | None, infra_retry: bool | None, expected: bool
) -> None:
    assert is_retry_allowed(pool, infra_retry=infra_retry) is expected


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        pytest.param([], False, id="GitLab lists none"),
        pytest.param([("test", 5)], False, id="itself"),
        pytest.param([("test", 4)], False, id="an older one"),
        pytest.param([("build", 6)], False, id="another job"),
        pytest.param([("build", 6), ("test", 7)], True, id="a newer one of its name"),
    ],
)
def test_a_newer_job_of_the_same_name_is_its_retry(
    others: list[tuple[str, int]], expected: bool
) -> None:
    assert ran_again(job(5, name="test"), others) is expected


@pytest.mark.parametrize(
    ("status", "intended_for", "cancelled", "outcome", "reason"),
    [
        pytest.param("failed", None, False, "failed", "gitlab's", id="GitLab knows its end"),
        pytest.param("success", "x", False, "success", "gitlab's", id="it succeeded after all"),
        pytest.param("running", "x", False, "failed", "x", id="GitLab's answer is older"),
        pytest.param("running", None, False, None, None, id="its machine is lost"),
        pytest.param("canceled", None, True, None, None, id="the fleet cancelled it"),
        pytest.param("canceled", None, False, "canceled", "gitlab's", id="a person cancelled it"),
    ],
)
def test_a_retry_is_decided_on_what_gitlab_shows_now(
    status: str, intended_for: str | None, cancelled: bool, outcome: str | None, reason: str | None
) -> None:
    facts = facts_now(
        status, "gitlab's", intended_for=intended_for, cancelled=cancelled, retried=False
    )
    assert (facts.outcome, facts.failure_reason) == (outcome, reason)
    assert facts.machine_lost is (intended_for is None)


@pytest.mark.parametrize(
    ("outcome", "age_s", "expected"),
    [
        pytest.param(Outcome.SUCCEEDED, 29, True, id="it ended just now"),
        pytest.param(Outcome.FAILED, 30, False, id="GitLab had the time to hear of it"),
        pytest.param(Outcome.CANCELED, -600, True, id="its clock is wrong, and nothing is noted"),
        pytest.param(Outcome.NO_JOB, 1, False, id="it had no job"),
        pytest.param(None, 1, False, id="it did not see its job through"),
    ],
)
def test_gitlab_may_not_know_yet_what_a_machine_has_just_finished(
    outcome: Outcome | None, age_s: float, expected: bool
) -> None:
    goodbye = Report(heartbeat_at=ago(age_s), state=MachineState.DONE, outcome=outcome)
    ended = with_report(runner("r", since_s=900), goodbye, "gitlab.example.com")
    assert may_gitlab_lag(ended, goodbye, AT) is expected


def test_a_machine_that_reported_nothing_leaves_no_doubt() -> None:
    assert not may_gitlab_lag(runner("r"), None, AT)


def test_a_runner_whose_row_has_no_sign_of_its_last_report_may_have_just_ended() -> None:
    goodbye = Report(heartbeat_at=AT, state=MachineState.DONE, outcome=Outcome.SUCCEEDED)
    assert may_gitlab_lag(runner("r"), goodbye, AT)
