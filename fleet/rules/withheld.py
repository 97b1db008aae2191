"""Whether GitLab keeps a job from the runners that are ready for it."""

from fleet.errors import FleetError, Refused
from fleet.model import JobStatus, rank

UNAUTHORIZED = 401


def was_withheld(answer: str | FleetError | None) -> bool:
    """Whether GitLab did not hand over a job that waits; in doubt, while it is out, it could not.

    `answer`: GitLab's word for the job's status; None where it has no such job; or why it gave no
    answer. Else an outage of GitLab would use up the attempts of every job that waits for its end.
    """
    if isinstance(answer, Refused):
        return answer.facts.get("status") != UNAUTHORIZED  # a dead token says nothing of the job
    if isinstance(answer, FleetError):
        return False
    return answer is None or rank(answer) <= JobStatus.PENDING
