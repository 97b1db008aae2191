"""When a pool's runner token is renewed: before it expires for machines that still need it."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from fleet.config.reading import PoolConfig

# A machine waits so long for its credential after its first report.
CREDENTIAL_WITHIN = timedelta(minutes=5)
# Functions cache a secret for minutes: so long a machine may still get the former token.
FORMER_KEPT = timedelta(minutes=30)
# A token is renewed after three quarters of its life, as gitlab-runner does with its own.
PARTS = 4


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
