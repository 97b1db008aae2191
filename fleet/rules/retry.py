"""Whether a job runs once more, because its machine failed and not its script."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from fleet.machine.mailbox import Report
from fleet.model import Job, JobStatus, Runner, rank
from fleet.reasons import Reason
from fleet.rules.liveness import by_our_clock, due_note
from fleet.rules.reap import GOODBYE_GRACE
from fleet.steps import Outcome

# Why the fleet does not retry a job that its machine failed; a person may.
LEFT_TO_PEOPLE = frozenset({Reason.RETRY_OFF, Reason.RETRIED_BEFORE, Reason.DEPLOYS})
# Outcomes that gitlab-runner itself reported to GitLab.
REPORTED_TO_GITLAB = frozenset({Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELED})
# An intent that is younger is carried out by the process that wrote it.
IN_HAND = timedelta(seconds=10)

# GitLab's failure reasons that blame the runner's side. Source: `Enums::Ci::CommitStatus`.
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
    machine_lost: bool  # its runner had a spot loss, a host death or a boot failure
    retried: bool  # a newer job of this name is in the pipeline, or the ledger says we did it
    is_retry: bool = False  # it is itself a retry by the fleet
    deploys: bool = False  # it starts or stops an environment of GitLab's


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPlan:
    """Retry or not; `cancel_first` when GitLab still shows the lost job as running."""

    retry: bool
    reason: Reason
    cancel_first: bool = False


def decide_retry(facts: RetryFacts) -> RetryPlan:
    """One retry on on-demand capacity for infrastructure failures; none for a script's."""
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


def is_retry_allowed(pool: str | None, *, infra_retry: bool | None) -> bool:
    """Whether the pool that a job was in wants it retried; `infra_retry`: its setting.

    For a pool that `apply` removed, `infra_retry` is None: its last jobs are retried.
    """
    return pool is not None and infra_retry is not False


def is_cancel_too_late(status: str) -> bool:
    """Whether a lost job succeeded before the fleet's cancellation: it is not retried then.

    `status`: GitLab's word after the call to cancel it.
    """
    return status == "success"


def ran_again(job: Job, others: Iterable[tuple[str, int]]) -> bool:
    """Whether a job was retried already: its pipeline has a newer job of its name.

    `others`: the names and ids of the pipeline's jobs, as GitLab lists them, `job` included or not.
    """
    return any(name == job.name and job_id > job.job_id for name, job_id in others)


def facts_now(
    status: str,
    failure_reason: str | None,
    *,
    intended_for: str | None,
    cancelled: bool,
    retried: bool,
) -> RetryFacts:
    """A job's end as GitLab shows it; as the webhook had it, where GitLab's answer is older.

    `intended_for`: the failure reason that the retry was intended for, None for a lost machine;
    `cancelled`: the fleet itself cancelled the job for that.
    """
    outcome: str | None = status
    is_over = rank(status) is JobStatus.FINISHED
    if not is_over or (cancelled and status == "canceled"):
        outcome = "failed" if intended_for else None
        failure_reason = intended_for
    return RetryFacts(
        allowed=True,
        outcome=outcome,
        failure_reason=failure_reason,
        machine_lost=intended_for is None,
        retried=retried,
    )


def may_gitlab_lag(runner: Runner, report: Report | None, at: datetime) -> bool:
    """Whether the machine finished its job just now, so that GitLab's answer may be older.

    gitlab-runner ends when GitLab has its last update, or when it gives up on GitLab.
    """
    if report is None or report.outcome not in REPORTED_TO_GITLAB:
        return False
    dated = by_our_clock(runner, at)
    if dated.heartbeat_at is None or due_note(runner, at):
        return True  # the report is newer than the fleet's last look; its age is not known
    return at - dated.heartbeat_at < GOODBYE_GRACE
