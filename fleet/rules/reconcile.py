"""What the ledger missed: GitLab's list of pending jobs is the truth, webhooks are hints."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from fleet.model import GONE, Job, JobKey, JobStatus
from fleet.reasons import Reason
from fleet.times import HasUtcTimes

# A row younger than this may be ahead of the list that GitLab answered with.
SETTLING = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrections:
    """What to set right in one project."""

    route: tuple[JobKey, ...]  # pending in GitLab, no pending row: webhook lost
    look_up: tuple[JobKey, ...]  # pending in the ledger, not in GitLab: taken or ended unseen
    reason: Reason
    renew: tuple[JobKey, ...] = ()  # given up before the last `apply`, and pending still


def decide_reconcile(
    pending: Iterable[JobKey],
    rows: Mapping[JobKey, Job],
    *,
    at: datetime,
    applied: str | None = None,
) -> Corrections:
    """Hold one project's pending jobs in GitLab against its rows in the ledger.

    `rows` has the project's rows that wait, and the row of every pending job that has one.
    A job that GitLab lists as pending while its row is running or finished is left to GitLab:
    a status never goes back, the list was read before the row changed. But what was gone for a time
    and is there again was only hidden from us: it waits as before. `applied` names the last
    `apply`: what was given up under an earlier one has all attempts again. No clocks are compared,
    as the one of whoever applies may be wrong.
    """
    listed = tuple(pending)
    route = tuple(key for key in listed if key not in rows or _is_unrouted(rows[key]))
    gone = set(listed)
    look_up = tuple(
        key
        for key, row in sorted(rows.items())
        if row.status is JobStatus.PENDING and key not in gone and at - row.pending_at >= SETTLING
    )
    reason = Reason.BALANCED
    if look_up:
        reason = Reason.FINISHED_UNSEEN
    if route:
        reason = Reason.WEBHOOK_LOST
    renew = tuple(key for key in listed if key in rows and _is_renewed(rows[key], applied))
    return Corrections(route=route, look_up=look_up, reason=reason, renew=renew)


def _is_renewed(row: Job, applied: str | None) -> bool:
    is_given_up = row.status is JobStatus.PENDING and row.given_up
    return is_given_up and applied is not None and row.given_up_in != applied


def _is_unrouted(row: Job) -> bool:
    return row.status is JobStatus.CREATED or row.outcome == GONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched(HasUtcTimes):
    """One project whose pending jobs we read."""

    project_id: int
    instance: str
    last_hook_at: datetime | None
    last_polled_at: datetime | None
    hook_healthy: bool = True
    path: str = ""
    is_moving: bool = False  # jobs there wait where the configuration does not want them


# Every watched project is read at least this often; busy or unheard ones every minute, which is
# how often the projects are chosen.
ROUND_ROBIN = timedelta(minutes=10)
EVERY = timedelta(minutes=1)
RECENT = timedelta(minutes=15)


# So many quiet projects are read every minute, for that many calls; more take turns.
FEW = 10


def decide_polls(watched: Iterable[Watched], *, at: datetime, at_most: int) -> tuple[Watched, ...]:
    """The projects to read now, most urgent first: unhealthy hook, longest unread, recent hook.

    One whose jobs are to be routed again is as urgent as one whose webhooks do not come.

    A few quiet projects are all read every minute where the reads suffice: a small fleet whose
    every webhook is lost starts its jobs within that. Nobody starves, however small `at_most` is:
    the longest unread come before those with recent hooks, and projects with unhealthy hooks leave
    them at least a tenth of the reads.
    """
    never = datetime.min.replace(tzinfo=at.tzinfo)
    projects = sorted(watched, key=lambda one: one.last_polled_at or never)
    unheard = [one for one in projects if one.is_moving or not one.hook_healthy]
    healthy = [one for one in projects if one.hook_healthy and not one.is_moving]
    share = _rounded_up(len(healthy), ROUND_ROBIN // EVERY)
    recent = [one for one in healthy[share:] if _is_recent(one, at)]
    few = [one for one in healthy[share:FEW] if not _is_recent(one, at)]
    first = at_most - min(share, _rounded_up(at_most, 10))
    return tuple((unheard[:first] + healthy[:share] + unheard[first:] + recent + few)[:at_most])


def _is_recent(one: Watched, at: datetime) -> bool:
    """Whether a hook of it came lately."""
    return one.last_hook_at is not None and at - one.last_hook_at <= RECENT


def _rounded_up(count: int, parts: int) -> int:
    """One of so many equal parts of the count."""
    return -(-count // parts)
