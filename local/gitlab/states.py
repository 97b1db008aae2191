"""GitLab's job and pipeline states: transitions, and the one status of several jobs. Pure.

Source: GitLab's `Ci::HasStatus`, `CommitStatus` and `Gitlab::Ci::Status::Composite`.
"""

from collections.abc import Set
from enum import StrEnum


class Status(StrEnum):
    """The states of a job; a pipeline uses the same words."""

    CREATED = "created"
    WAITING_FOR_RESOURCE = "waiting_for_resource"
    PREPARING = "preparing"
    PENDING = "pending"
    RUNNING = "running"
    CANCELING = "canceling"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELED = "canceled"
    SKIPPED = "skipped"
    MANUAL = "manual"
    SCHEDULED = "scheduled"


FINISHED = frozenset({Status.SUCCESS, Status.FAILED, Status.CANCELED})
COMPLETED = FINISHED | {Status.SKIPPED}  # a later job may start
ACTIVE = frozenset({Status.PENDING, Status.RUNNING, Status.CANCELING})

# States whose arrival sends a Job Hook; the other states are silent.
ANNOUNCED = FINISHED | {Status.CREATED, Status.PENDING, Status.RUNNING}

_S = Status
_BEFORE_PENDING = frozenset({_S.PREPARING, _S.PENDING, _S.CANCELED, _S.FAILED})
_QUEUEABLE = _BEFORE_PENDING | {_S.WAITING_FOR_RESOURCE}

TRANSITIONS: dict[Status, frozenset[Status]] = {
    _S.CREATED: _QUEUEABLE | {_S.MANUAL, _S.SCHEDULED, _S.SKIPPED},
    _S.WAITING_FOR_RESOURCE: _BEFORE_PENDING,
    _S.PREPARING: _BEFORE_PENDING,
    _S.PENDING: frozenset({_S.RUNNING, _S.CANCELED, _S.FAILED}),
    _S.RUNNING: FINISHED | {_S.CANCELING},
    _S.CANCELING: frozenset({_S.CANCELED}),
    _S.MANUAL: _QUEUEABLE | {_S.CREATED, _S.SKIPPED},
    _S.SCHEDULED: _QUEUEABLE | {_S.MANUAL},
    _S.SKIPPED: frozenset({_S.CREATED}),
    _S.SUCCESS: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELED: frozenset(),
}


class ImpossibleTransition(Exception):
    """The state of the job does not allow the transition."""

    def __init__(self, job_id: int, old: Status, new: Status) -> None:
        super().__init__(f"job {job_id} cannot go from {old} to {new}")


class Mark(StrEnum):
    """What a job counts as, instead of its status, when it is allowed to fail."""

    WARNING = "success_with_warnings"
    IGNORED = "ignored"


Counted = Status | Mark


def counts_as(status: Status, *, allow_failure: bool) -> Counted:
    """The status that one job adds to a stage or a pipeline."""
    if allow_failure and status in (Status.FAILED, Status.CANCELED):
        return Mark.WARNING
    if allow_failure and status is Status.MANUAL:
        return Mark.IGNORED
    return status


_CALM: frozenset[Counted] = frozenset({Mark.WARNING, Mark.IGNORED})
_DONE: frozenset[Counted] = _CALM | COMPLETED

# First rule whose set holds every counted status wins ...
_ALL_OF: tuple[tuple[frozenset[Counted], Status], ...] = (
    (frozenset({_S.SKIPPED, Mark.IGNORED}), _S.SKIPPED),
    (_CALM | {_S.SUCCESS, _S.SKIPPED}, _S.SUCCESS),
    (_CALM | {_S.CREATED}, _S.CREATED),
    (_CALM | {_S.PREPARING}, _S.PREPARING),
    (_CALM | {_S.CANCELED, _S.SUCCESS, _S.SKIPPED}, _S.CANCELED),
    (_CALM | {_S.PENDING, _S.CREATED, _S.SKIPPED}, _S.PENDING),
)
# ... then the first of these that holds any of them.
_ANY_OF: tuple[tuple[frozenset[Counted], Status], ...] = (
    (frozenset({_S.RUNNING, _S.PENDING}), _S.RUNNING),
    (frozenset({_S.CANCELING}), _S.CANCELING),
    (frozenset({_S.WAITING_FOR_RESOURCE}), _S.WAITING_FOR_RESOURCE),
    (frozenset({_S.MANUAL}), _S.MANUAL),
    (frozenset({_S.SCHEDULED}), _S.SCHEDULED),
    (frozenset({_S.PREPARING}), _S.PREPARING),
    (frozenset({_S.CREATED}), _S.RUNNING),
)


def status_of(counted: Set[Counted]) -> Status:
    """The one status of several jobs; of none at all, success."""
    if not counted:
        return Status.SUCCESS
    for allowed, status in _ALL_OF:
        if counted <= allowed:
            return status
    for wanted, status in _ANY_OF:
        if counted & wanted:
            return status
    return Status.FAILED


def status_of_needs(counted: Set[Counted]) -> Status:
    """The one status of the jobs that a job `needs`: skipped as soon as one never ran."""
    if counted & {Status.SKIPPED, Mark.IGNORED}:
        return Status.SKIPPED
    if not counted <= _DONE:
        return Status.PENDING
    return status_of(counted)


_ACCEPTS: dict[str, frozenset[Status]] = {
    "on_success": frozenset({_S.SUCCESS, _S.SKIPPED}),
    "manual": frozenset({_S.SUCCESS, _S.SKIPPED}),
    "delayed": frozenset({_S.SUCCESS, _S.SKIPPED}),
    "on_failure": frozenset({_S.FAILED}),
    "always": frozenset({_S.SUCCESS, _S.FAILED, _S.SKIPPED}),
}


def decide_start(when: str, earlier: Status, *, by_needs: bool) -> Status | None:
    """The next state of a created job after `earlier`; None to wait."""
    if earlier not in COMPLETED:
        return None
    accepted = _ACCEPTS[when]
    if by_needs and when not in ("always", "on_failure"):
        accepted = accepted - {Status.SKIPPED}
    if earlier not in accepted:
        return Status.SKIPPED
    return {"manual": Status.MANUAL, "delayed": Status.SCHEDULED}.get(when, Status.PENDING)
