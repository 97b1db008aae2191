"""What the loss of a runner costs the job that it was launched for: an attempt, or nothing."""

from dataclasses import dataclass
from enum import StrEnum

from fleet.model import Job, JobStatus, Runner
from fleet.reasons import Reason

# Ends of a machine that say by themselves that it served no job.
LOST_BEFORE_A_JOB = frozenset({Reason.BOOT_DEADLINE, Reason.MACHINE_GONE, Reason.INVOCATION_FAILED})


class Cost(StrEnum):
    """What a job pays for the end of a runner."""

    NOTHING = "nothing"
    ATTEMPT = "attempt"
    ASK = "ask"  # an attempt, if GitLab did not hand the job over: see `rules.withheld`


def decide_cost(job: Job, runner: Runner, reason: Reason) -> Cost:
    """An attempt, where the job still waits and the runner's end is why; `reason`: of that end."""
    if job.status is not JobStatus.PENDING or job.given_up:
        return Cost.NOTHING
    if reason in LOST_BEFORE_A_JOB and runner.job is None:
        return Cost.ATTEMPT
    return Cost.ASK


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptPlan:
    """Another launch for a job under the number `attempt`; `given_up`: no launch any more."""

    attempt: int
    given_up: bool
    reason: Reason


def decide_attempt(
    lost: Job, now: Job | None, *, attempts: int, reason: Reason
) -> AttemptPlan | None:
    """The next attempt, or none any more when the pool's `attempts` are used up.

    `lost` is the job's row as it was when its runner was lost, `now` as it is. None: another
    finder of the same end was first.
    """
    if now is None or now.given_up or now.attempt > lost.attempt:
        return None
    given_up = lost.attempts_used >= attempts
    return AttemptPlan(
        attempt=lost.attempt + 1,
        given_up=given_up,
        reason=Reason.ATTEMPTS_USED if given_up else reason,
    )
