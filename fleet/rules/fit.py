"""Whether a machine that was launched before an `apply` gets the jobs that its pool is for now.

Its own record in GitLab keeps the tags, the protection and the place that the pool had then.
"""

import json
from hashlib import sha256

from fleet.config.reading import PoolConfig, RunnersIn
from fleet.model import Limits, Runner


def serves(pool: PoolConfig, place: RunnersIn) -> str:
    """Name which jobs GitLab gives to a record of this pool: another name, other jobs.

    Twelve hexadecimal digits.
    """
    told = [sorted(set(pool.tags)), pool.run_untagged, pool.protected_only, place.kind, place.id]
    return sha256(json.dumps(told).encode()).hexdigest()[:12]


def is_outdated(runner: Runner, limits: Limits) -> bool:
    """Whether a runner that is there for the backlog is there for another one than its pool's.

    One without a record of its own gets the record that is right by then, or shares the pool's.
    """
    is_known = runner.serves is not None and limits.serves is not None
    return runner.covers and is_known and runner.serves != limits.serves
