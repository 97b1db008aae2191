"""How the calls to GitLab of one minute are shared out, and when a pass makes no more."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from fleet.errors import FleetError, Refused
from fleet.reasons import Reason

# A pass ends after as many failures: each try may take its whole time-out.
FAILURES_AT_MOST = 3
HOOKS_AT_MOST = 10  # in one pass, at two calls each
PAUSE = "retry_after_s"
LEASED_FOR = timedelta(seconds=5)
LEASE_AT_MOST = 16
TOKEN_EVERY = timedelta(days=1)  # GitLab is asked when the token expires
GROUPS_EVERY = timedelta(minutes=10)  # groups are listed: they change slowly
# A lost webhook leaves a job open until then, and each hour of a running job costs one call.
LOOK_AFTER = timedelta(hours=1)
GONE = 404  # a project that was deleted with its jobs, or that is hidden from us now


def polls_at_most(calls_per_minute: int) -> int:
    """Projects to read in one pass, one call each: a third of the minute's calls."""
    return max(1, calls_per_minute // 3)


def records_at_most(calls_per_minute: int) -> int:
    """Runner records to make in one round, one call each: a third of the minute's calls."""
    return max(1, calls_per_minute // 3)


def hooks_in_turn(hooks: int, *, calls_per_minute: int, at: datetime) -> list[int]:
    """Positions of the webhooks to look at in this minute: where there are many, they take turns.

    Another's webhook must not take the calls of the jobs.
    """
    share = min(HOOKS_AT_MOST, max(1, calls_per_minute // 30))
    first = int(at.timestamp() // 60) * share
    return [(first + index) % hooks for index in range(min(share, hooks))]


@dataclass(frozen=True, slots=True, kw_only=True)
class PassPlan:
    """How a pass goes on after a failure. `stop`: why it makes no more calls; None: it goes on."""

    failures: int  # of GitLab so far
    stop: Reason | None = None


def decide_pass(failure: FleetError, *, failures: int) -> PassPlan:
    """Stop when GitLab asks for a pause, or when it failed too often; `failures`: those before.

    A refusal concerns one project or one job: GitLab itself is well.
    """
    if isinstance(failure, Refused):
        return PassPlan(failures=failures)
    failures += 1
    if PAUSE in failure.facts:
        return PassPlan(failures=failures, stop=Reason.PACED)
    is_out = failures >= FAILURES_AT_MOST
    return PassPlan(failures=failures, stop=Reason.GITLAB_OUT if is_out else None)


def is_project_gone(failure: FleetError) -> bool:
    """Whether GitLab has the project no longer, or hides it from us."""
    return failure.facts.get("status") == GONE


def is_due(last: datetime | None, *, every: timedelta, at: datetime) -> bool:
    """Whether something that is done at intervals is done now; `last`: None if never."""
    return last is None or at - last >= every


def calls_to_lease(last: int, *, is_used_up: bool, since: timedelta) -> int:
    """How many calls a process takes from the fleet's call allowance at once.

    `last`: its last lease, `since` when. A process that used all of it within seconds takes twice
    as many, up to `LEASE_AT_MOST`; any other takes one: what it does not use is lost.
    """
    is_quick = is_used_up and timedelta() <= since < LEASED_FOR
    return min(LEASE_AT_MOST, 2 * last) if is_quick and last else 1
