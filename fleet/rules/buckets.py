"""How full a token bucket of AWS is, by the requests that are known. Pure.

AWS does not show its buckets: this counts what the fleet itself took out of one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBucket:
    """At most `size` tokens, and `per_s` more in each second."""

    size: int
    per_s: float


# Source: EC2 user guide, "Request throttling for the Amazon EC2 API": machines, not requests.
LAUNCHES = TokenBucket(size=1000, per_s=2.0)
TERMINATIONS = TokenBucket(size=1000, per_s=20.0)


def taken(bucket: TokenBucket, times: Iterable[datetime], at: datetime) -> float:
    """The tokens that are out of a bucket at `at`, one having been taken at each of these times."""
    out, before = 0.0, None
    for time in sorted(time for time in times if time <= at):
        if before is not None:
            out = max(0.0, out - (time - before).total_seconds() * bucket.per_s)
        out, before = out + 1, time
    if before is not None:
        out = max(0.0, out - (at - before).total_seconds() * bucket.per_s)
    return min(out, float(bucket.size))
