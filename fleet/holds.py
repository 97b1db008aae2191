"""A hold: launches that wait because GitLab gives their machines no credential.

When one begins, ends and asks again: `fleet/rules/holds.py`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from fleet.reasons import Reason
from fleet.times import HasUtcTimes

# For this time after the last failure, records are made before machines: GitLab may fail again.
CAREFUL_FOR = timedelta(hours=1)


class HoldKind(StrEnum):
    """Whether GitLab could not answer, takes no more calls for now, or said no."""

    OUTAGE = "outage"
    PACE = "pace"
    REFUSAL = "refusal"


# Used-up calls are a pace like any other: the next round goes on.
_REASONS = {
    HoldKind.OUTAGE: Reason.GITLAB_OUT,
    HoldKind.PACE: Reason.PACED,
    HoldKind.REFUSAL: Reason.GITLAB_REFUSES,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold(HasUtcTimes):
    """Launches that wait because their machines would get no credential.

    `status` is GitLab's HTTP status, None where it gave none.
    """

    pool: str | None = None  # None: every pool
    project_id: int | None = None  # None: every project
    kind: HoldKind
    since: datetime
    ask_at: datetime  # when one launch may ask GitLab again
    failures: int = 1  # in a row
    words: str
    status: int | None = None
    shared: bool = False  # what is refused is the pool's own token, which its machines share
    lifted_at: datetime | None = None  # since when GitLab gives credentials again

    @property
    def scope(self) -> tuple[str | None, int | None]:
        """Its pool and project; None: all of them."""
        return self.pool, self.project_id

    @property
    def reason(self) -> Reason:
        """Why the held jobs wait."""
        return _REASONS[self.kind]

    def concerns(self, pool: str, project_id: int | None) -> bool:
        """Whether it is about records of a pool in a project (None: of the owner for all)."""
        return self.pool in {None, pool} and self.project_id in {None, project_id}

    def is_remembered(self, at: datetime) -> bool:
        """Whether GitLab failed lately, so that records are made before machines."""
        return self.lifted_at is None or at - self.lifted_at < CAREFUL_FOR
