"""Whether a machine launched before an `apply` still gets the jobs of its pool.

Its own record in GitLab keeps the tags, the protection and the owner that the pool had then.
"""

import json
from hashlib import sha256

from fleet.config.model import PoolConfig, RunnersIn
from fleet.model import Limits, Runner


def serves(pool: PoolConfig, owner: RunnersIn) -> str:
    """The name of the set of jobs that GitLab gives to a record of this pool.

    Twelve hexadecimal digits.
    """
    facts = [sorted(set(pool.tags)), pool.run_untagged, pool.protected_only, owner.kind, owner.id]
    return sha256(json.dumps(facts).encode()).hexdigest()[:12]


def is_outdated(runner: Runner, limits: Limits) -> bool:
    """Whether a covering runner gets other jobs than those of its pool's backlog.

    A runner without a record of its own gets a current one later, or shares the pool's.
    """
    is_known = runner.serves is not None and limits.serves is not None
    return runner.covers and is_known and runner.serves != limits.serves
