"""What the ledger missed: GitLab's list of pending jobs decides, webhooks are hints."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from fleet.model import GONE, Job, JobKey, JobStatus
from fleet.reasons import Reason

# A row younger than this may be ahead of the list that GitLab answered with.
SETTLING = timedelta(seconds=5)
# GitLab's list is never so far behind: what it shows as pending waits, whatever its row says.
LIST_LAGS = timedelta(seconds=30)
# For this long after an `apply`, jobs that fit one of its pools are looked for.
APPLIED_LATELY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrections:
    """The corrections of one project's rows."""

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
    """Compare one project's pending jobs in GitLab with its rows in the ledger.

    `rows` has the project's rows that wait, and the row of every pending job that has one.
    A job that GitLab lists as pending while its row is running or finished needs no correction at
    first: the list may be older than the row. Soon after the list proves the row wrong: an event
    alone had said so. A job that was gone and is listed again was hidden from the fleet.

    `applied` names the last `apply`: a job given up under an earlier one has all attempts again. No
    clocks are compared: the clock of the operator's machine may be wrong.
    """
    listed = tuple(pending)
    route = tuple(
        key
        for key in listed
        if key not in rows or _is_unrouted(rows[key]) or is_contradicted(rows[key], at)
    )
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


def is_applied_lately(applied_at: datetime | None, at: datetime) -> bool:
    """Whether jobs without a pool may fit one of the last `apply`, made at `applied_at`."""
    return applied_at is not None and at - applied_at < APPLIED_LATELY


def _is_renewed(row: Job, applied: str | None) -> bool:
    is_given_up = row.status is JobStatus.PENDING and row.given_up
    return is_given_up and applied is not None and row.given_up_in != applied


def _is_unrouted(row: Job) -> bool:
    return row.status is JobStatus.CREATED or row.outcome == GONE or row.is_hearsay


def is_contradicted(row: Job, at: datetime) -> bool:
    """Whether a list that shows a job as pending proves its row wrong; else it may be older."""
    is_past = row.status > JobStatus.PENDING and row.changed_at is not None
    return is_past and (row.is_hearsay or at - row.changed_at >= LIST_LAGS)  # type: ignore[operator]
