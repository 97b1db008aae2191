"""When a pool's own runner token is shown to GitLab, and when it is renewed.

It is renewed before it expires for machines that still need it.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from fleet.config.model import PoolConfig
from fleet.errors import Refused
from fleet.rules.calls import is_due

# GitLab fails jobs that wait over an hour where no fitting runner was seen for two hours, and
# writes when it saw one at most every 40 to 55 minutes. Source: GitLab's
# `Ci::StuckBuilds::DropPendingService` and `Ci::Runner`.
PRESENCE_EVERY = timedelta(minutes=30)
# After GitLab accepted a shared token, machines are launched with it for this time.
TRUSTED_FOR = timedelta(minutes=1)
FORBIDDEN = 403  # GitLab's answer to a runner token that is not valid
# The longest wait of a machine for its credential, after its first report.
CREDENTIAL_WITHIN = timedelta(minutes=5)
# Functions cache a secret for minutes: until then a machine may get the former token.
FORMER_KEPT = timedelta(minutes=30)
# A token is renewed after three quarters of its life, as gitlab-runner does with its own.
PARTS = 4
# The longest run of the function that renews a token, and more: then another may claim it.
RENEWAL_TAKES = timedelta(minutes=2)
# After a timeout of AWS: by then it shows whether the token is in force. Each try makes a record.
UNSURE_FOR = timedelta(minutes=10)


def is_presence_due(verified_at: datetime | None, at: datetime) -> bool:
    """Whether GitLab must hear of the pool again, so that none of its jobs counts as stuck."""
    return is_due(verified_at, every=PRESENCE_EVERY, at=at)


def is_check_due(verified_at: datetime | None, at: datetime, *, in_doubt: bool) -> bool:
    """Whether GitLab is asked before a launch; `in_doubt`: it gave no credential lately."""
    return in_doubt or is_due(verified_at, every=TRUSTED_FOR, at=at)


def is_dead(refusal: Refused) -> bool:
    """Whether the token itself is not valid, so that a new one is made."""
    return refusal.facts.get("status") == FORBIDDEN


def is_renewal_due(
    pool: PoolConfig, *, made_at: datetime | None, expires_at: datetime | None, at: datetime
) -> bool:
    """Whether the token is to be replaced now; never, where it does not expire.

    The last machine that gets it still boots with it and waits for its job. A token with a life
    shorter than that is replaced after half of it; otherwise each minute would make another.
    """
    if expires_at is None:
        return False
    needed = pool.boot_deadline + CREDENTIAL_WITHIN + pool.wait_timeout
    life = expires_at - (made_at or expires_at - PARTS * needed)
    margin = min(max(life / PARTS, needed), life / 2)
    return at >= expires_at - margin


def outlived(
    former: Mapping[int, datetime], *, current: int, used: Iterable[int | None], at: datetime
) -> frozenset[int]:
    """The pool's records that may be deleted: replaced long ago, and no machine has them.

    `former`: when each record, by its id, was replaced; `used`: the records of the pool's live
    runners.
    """
    old = {record for record, since in former.items() if at - since >= FORMER_KEPT}
    return frozenset(old - {current, *used})
