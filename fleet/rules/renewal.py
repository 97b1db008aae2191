"""When a pool's runner token is made anew: before it expires, while its machines still need it."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from fleet.config.reading import PoolConfig

# A machine waits so long for its credential after it called home.
CREDENTIAL_WITHIN = timedelta(minutes=5)
# Functions keep a copy of a secret for minutes: so long a machine may still get the token before.
FORMER_KEPT = timedelta(minutes=30)
# Of its life a token is used three quarters, as gitlab-runner does with its own.
PARTS = 4


def is_renewal_due(
    pool: PoolConfig, *, made_at: datetime | None, expires_at: datetime | None, at: datetime
) -> bool:
    """Whether the token is to be replaced now; one that never expires is not.

    A machine that gets it last still boots with it and waits for its job. A token that lives
    shorter than that is replaced after half of its life, else each minute would make another.
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
    """The pool's records that may be deleted: in force no more for long, and no machine has them.

    `former`: since when each record, by its number, is in force no more; `used`: the records that
    the pool's live runners have.
    """
    old = {record for record, since in former.items() if at - since >= FORMER_KEPT}
    return frozenset(old - {current, *used})
