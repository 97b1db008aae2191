"""What becomes of a demand message: deleted, hidden for a time, or kept as a dead letter."""

from collections.abc import Mapping

from fleet.model import Job, JobKey, JobStatus

# The longest time for which the message of a waiting job is hidden from a round.
HIDDEN_AT_MOST_S = 900


def waits_in(job: Job | None, pool: str) -> bool:
    """Whether the job of a message still needs a launch, in the pool that the message is for."""
    return job is not None and job.wants_runner and job.pool == pool


def is_behind(job: Job, listed: Mapping[str, frozenset[JobKey]]) -> bool:
    """Whether a job wants a runner that the index of waiting jobs, by pool, does not show yet."""
    return job.wants_runner and job.key not in listed.get(job.pool or "", {job.key})


def hidden_s(times: int) -> int:
    """For how long the message of a waiting job is hidden: twice as long each time.

    In whole seconds; `times`: how often it was received.
    """
    doubled: int = 2 ** min(times - 1, 10)
    return min(HIDDEN_AT_MOST_S, doubled)


def is_dead_letter_settled(job: Job | None, *, times: int) -> bool:
    """Whether a dead letter may be deleted: its job is over, or no longer given up.

    `times`: how often it was received. At first it stays: it is buried a moment before its job's
    row says that it was given up.
    """
    if times <= 1:
        return False
    return job is None or job.status is not JobStatus.PENDING or not job.given_up
