"""When a pool's own runner token is shown to GitLab, and what GitLab's refusal means."""

from datetime import datetime, timedelta

from fleet.errors import Refused
from fleet.rules.calls import is_due

# GitLab fails jobs that wait over an hour where no fitting runner was seen for two hours, and
# writes when it saw one at most every 40 to 55 minutes. Source: gitlab-facts, trap 17 and 18.
PRESENCE_EVERY = timedelta(minutes=30)
# Machines that share a token are launched for so long after GitLab last accepted it.
TRUSTED_FOR = timedelta(minutes=1)
FORBIDDEN = 403  # GitLab's answer to a runner token that is not valid


def is_presence_due(verified_at: datetime | None, at: datetime) -> bool:
    """Whether GitLab must hear of the pool again, so that none of its jobs counts as stuck."""
    return is_due(verified_at, every=PRESENCE_EVERY, at=at)


def is_check_due(verified_at: datetime | None, at: datetime, *, in_doubt: bool) -> bool:
    """Whether GitLab is asked before a launch; `in_doubt`: it gave no credential lately."""
    return in_doubt or is_due(verified_at, every=TRUSTED_FOR, at=at)


def is_dead(refusal: Refused) -> bool:
    """Whether the token itself is not valid, so that a new one is made."""
    return refusal.facts.get("status") == FORBIDDEN
