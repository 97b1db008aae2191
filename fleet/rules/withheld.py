"""Whether GitLab withholds a job from the runners that are ready for it."""

from fleet.errors import FleetError, Refused
from fleet.model import JobStatus, rank

UNAUTHORIZED = 401


def was_withheld(answer: str | FleetError | None) -> bool:
    """Whether GitLab withheld a waiting job; not, while GitLab is out.

    `answer`: GitLab's word for the job's status; None where it has no such job; or the error of the
    call. An outage must not use up the attempts of every job that waits for its end.
    """
    if isinstance(answer, Refused):
        return answer.facts.get("status") != UNAUTHORIZED  # a dead token says nothing of the job
    if isinstance(answer, FleetError):
        return False
    return answer is None or rank(answer) <= JobStatus.PENDING
