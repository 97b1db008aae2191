"""Whether the loss of a runner costs the job that it was launched for an attempt."""

from dataclasses import dataclass
from enum import StrEnum

from fleet.errors import FleetError, Refused
from fleet.model import Job, JobStatus, Runner, rank
from fleet.reasons import Reason

# Ends of a machine that prove by themselves that it served no job.
LOST_BEFORE_A_JOB = frozenset({Reason.BOOT_DEADLINE, Reason.MACHINE_GONE, Reason.INVOCATION_FAILED})
# Launches without cost that a job may have after invocations that read no credential: the sandbox
# was not clean, or an earlier job in it took the invocation from Lambda's runtime interface.
SWALLOWED_AT_MOST = 3
UNAUTHORIZED = 401


class Cost(StrEnum):
    """The cost of a runner's end to its job."""

    NOTHING = "nothing"
    LAUNCH = "launch"  # another launch, and no attempt
    ATTEMPT = "attempt"
    ASK = "ask"  # GitLab: `decide_cost_by_gitlab` says the cost


def decide_cost(job: Job, runner: Runner, reason: Reason, *, read_credential: bool = True) -> Cost:
    """The cost of a runner's end to the job that it was launched for; `reason`: why it ended.

    `read_credential`: by its machine's report, the machine read its credential.
    """
    if job.status is not JobStatus.PENDING or job.given_up:
        return Cost.NOTHING
    if runner.job not in {None, job.key}:  # it served another job, and this one waits as before
        return Cost.NOTHING
    is_swallowed = runner.backend == "lambda" and runner.job is None and not read_credential
    if is_swallowed and job.swallowed < SWALLOWED_AT_MOST:
        return Cost.LAUNCH
    if reason in LOST_BEFORE_A_JOB and runner.job is None and runner.claim is None:
        return Cost.ATTEMPT
    return Cost.ASK


def decide_cost_by_gitlab(answer: str | FleetError | None) -> Cost:
    """An attempt where GitLab withheld the job from its runner; nothing while GitLab is out.

    `answer`: GitLab's word for the job's status; None where it has no such job; or the error of the
    call. An outage must not use up the attempts of every job that waits for its end.
    """
    if isinstance(answer, Refused):  # a dead token says nothing of the job
        was_withheld = answer.facts.get("status") != UNAUTHORIZED
    elif isinstance(answer, FleetError):
        was_withheld = False
    else:
        was_withheld = answer is None or rank(answer) <= JobStatus.PENDING
    return Cost.ATTEMPT if was_withheld else Cost.NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptPlan:
    """The next launch for a job, with the number `attempt`; `given_up`: there is none."""

    attempt: int
    given_up: bool
    reason: Reason
    swallowed: int = 0  # of the job's launches, those without cost, the lost one included


def decide_attempt(
    before: Job, current: Job | None, *, attempts: int, reason: Reason, cost: Cost = Cost.ATTEMPT
) -> AttemptPlan | None:
    """The next attempt; given up when the pool's `attempts` are used up.

    `before` is the job's row when its runner was lost, `current` its present row. None: another
    caller handled the same end first.
    """
    if current is None or current.given_up or current.attempt > before.attempt:
        return None
    if cost is Cost.LAUNCH:
        return AttemptPlan(
            attempt=before.attempt + 1,
            given_up=False,
            reason=Reason.SWALLOWED,
            swallowed=before.swallowed + 1,
        )
    given_up = before.attempts_used >= attempts
    return AttemptPlan(
        attempt=before.attempt + 1,
        given_up=given_up,
        reason=Reason.ATTEMPTS_USED if given_up else reason,
        swallowed=before.swallowed,
    )
