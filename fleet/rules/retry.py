"""Whether a job runs once more, because its machine failed it and not its script."""

from dataclasses import dataclass

from fleet.reasons import Reason

# GitLab's failure reasons that blame the runner's side. Source: gitlab-facts, failure_reason.
INFRA_FAILURES = frozenset(
    {
        "runner_system_failure",
        "runner_interrupted",
        "no_updates_running",
        "no_updates_canceling",
        "server_timeout_running",
        "job_execution_server_timeout",
        "runner_external_dependency_failure",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryFacts:
    """One job at its end, or one whose machine vanished while GitLab still shows it running."""

    allowed: bool  # the pool does not say infra_retry = false
    outcome: str | None  # GitLab's word; None: still shown as running
    failure_reason: str | None
    machine_lost: bool  # spot loss, host death or boot failure was seen for its runner
    retried: bool  # a newer job of this name is in the pipeline, or the ledger says we did it
    is_retry: bool = False  # it is itself what we retried another as
    deploys: bool = False  # it starts or stops an environment of GitLab's


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPlan:
    """Retry or not; `cancel_first` when GitLab still shows the lost job as running."""

    retry: bool
    reason: Reason
    cancel_first: bool = False


def decide_retry(facts: RetryFacts) -> RetryPlan:
    """One retry on on-demand capacity for infrastructure failures; a script's are its own."""
    vanished = facts.outcome is None
    blamed = facts.outcome == "failed" and facts.failure_reason in INFRA_FAILURES
    if vanished and not facts.machine_lost:
        return RetryPlan(retry=False, reason=Reason.RUNNING)
    if not vanished and not blamed:
        failed = facts.outcome == "failed"
        return RetryPlan(retry=False, reason=Reason.SCRIPT_FAILED if failed else Reason.FINISHED)
    if not facts.allowed:
        return RetryPlan(retry=False, reason=Reason.RETRY_OFF)
    if facts.deploys:
        return RetryPlan(retry=False, reason=Reason.DEPLOYS)
    if facts.is_retry:
        return RetryPlan(retry=False, reason=Reason.RETRIED_BEFORE)
    if facts.retried:
        return RetryPlan(retry=False, reason=Reason.ALREADY_RETRIED)
    return RetryPlan(retry=True, reason=Reason.INFRA_RETRY, cancel_first=vanished)
