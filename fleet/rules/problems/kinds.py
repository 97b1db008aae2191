"""The kinds of problems, and a problem as `status` lists it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class ProblemKind(StrEnum):
    """Every kind of problem, in the order in which they are listed: from the outside in."""

    GITLAB_UNUSABLE = "gitlab_unusable"
    TOKEN_ENDS = "token_ends"  # noqa: S105
    WEBHOOK_UNHEALTHY = "webhook_unhealthy"
    WEBHOOK_SILENT = "webhook_silent"
    NO_CREDENTIAL = "no_credential"
    DEAD_DEMANDS = "dead_demands"
    DEAD_EVENTS = "dead_events"
    DEAD_EXPIRIES = "dead_expiries"
    POOL_REFUSED = "pool_refused"
    IMAGE_BEHIND = "image_behind"
    WARM_STOPPED = "warm_stopped"
    POOL_UNSEEN = "pool_unseen"
    RENEWAL_FAILED = "renewal_failed"
    POOL_FULL = "pool_full"
    NO_CAPACITY = "no_capacity"
    BUDGET_USED = "budget_used"
    LEAKED = "leaked"
    NEIGHBOUR = "neighbour"
    UNPLACED = "unplaced"
    OVER_AGE = "over_age"
    BOOT_LATE = "boot_late"
    SILENT = "silent"
    MACHINE_LOST = "machine_lost"
    WITHHELD = "withheld"
    GIVEN_UP = "given_up"
    NO_POOL = "no_pool"
    UNTAGGED = "untagged"
    UNPROTECTED = "unprotected"
    PROTECTION_UNKNOWN = "protection_unknown"
    POOL_GONE = "pool_gone"
    UNATTENDED = "unattended"
    UNREADABLE = "unreadable"


# Those that keep the fleet from serving jobs, or cost money, until a person acts. Any other is
# about single jobs and dead letters, or ends by itself.
OF_THE_FLEET = frozenset(
    {
        ProblemKind.GITLAB_UNUSABLE,
        ProblemKind.WEBHOOK_UNHEALTHY,
        ProblemKind.WEBHOOK_SILENT,
        ProblemKind.NO_CREDENTIAL,
        ProblemKind.POOL_REFUSED,
        ProblemKind.WARM_STOPPED,
        ProblemKind.POOL_UNSEEN,
        ProblemKind.RENEWAL_FAILED,
        ProblemKind.LEAKED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One kind of problem: how many cases, and what to do about them."""

    kind: ProblemKind
    what: str
    do: str
    count: int = 1
    example: str = ""  # of a case: a job's id, a runner's id, a pool, a queue, a hook's scope


def and_more(first: str, all_of_them: Sequence[object]) -> str:
    """The first of several in a sentence, with the number of the others."""
    more = len(all_of_them) - 1
    return f"{first} and {more} more" if more else first
