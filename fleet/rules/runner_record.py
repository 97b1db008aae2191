"""Whose a runner record in GitLab is, by its name, which GitLab calls its description.

Several stacks may have records in one group of GitLab, and people have runners of their own there:
a record whose name is not of the exact form belongs to no fleet, and is left alone.
"""

import re
from dataclasses import dataclass

PREFIX = "rf-"  # of every runner's id
_OF_RUNNER = re.compile(r"(rf-[a-z0-9-]+-[0-9a-f]{12}) \(([A-Za-z][A-Za-z0-9-]*)\)")
_OF_POOL = re.compile(r"fleet pool ([a-z][a-z0-9-]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordName:
    """The name of a fleet's runner record: of one runner of a stack, or of a pool.

    A pool's names no stack: the pool's secret has the record's number.
    """

    runner_id: str | None = None
    stack: str | None = None
    pool: str | None = None


def runner_record_name(runner_id: str, stack: str) -> str:
    """The description of a runner's own record."""
    return f"{runner_id} ({stack})"


def pool_record_name(pool: str) -> str:
    """The description of a pool's record."""
    return f"fleet pool {pool}"


def read_record_name(description: str) -> RecordName | None:
    """Whose the record of this description is; None: of no fleet."""
    if named := _OF_RUNNER.fullmatch(description):
        return RecordName(runner_id=named[1], stack=named[2])
    if named := _OF_POOL.fullmatch(description):
        return RecordName(pool=named[1])
    return None
