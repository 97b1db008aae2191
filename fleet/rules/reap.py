"""The fate of a live runner that may be lost; a busy one is never ended on one observation."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol, TypeVar

from fleet.model import Limits, Runner, RunnerState
from fleet.reasons import Reason
from fleet.rules.job_runner import is_unnamed, may_hear
from fleet.times import HasUtcTimes

# The row of a machine or record that the ledger does not know may be under way.
UNKNOWN_AFTER = timedelta(minutes=2)
# After its goodbye a machine has this long to end by itself.
GOODBYE_GRACE = timedelta(seconds=30)
# A timer is set to the second, and clocks differ by less than this.
TIMER_EARLY = timedelta(seconds=5)
# States of a machine that owes its first heartbeat; the order to drain may come before it.
BOOTING = frozenset({RunnerState.REQUESTED, RunnerState.IN_FLIGHT, RunnerState.DRAINING})


class OfLaunch(Protocol):
    """A machine by its tags, or a runner by its row."""

    @property
    def launch_id(self) -> str | None:
        """The launch that made it."""

    @property
    def expires_at(self) -> datetime | None:
        """When it ends, at work or not."""


Member = TypeVar("Member", bound=OfLaunch)


class Fate(StrEnum):
    """The decision about one runner."""

    KEEP = "keep"
    ASK = "ask"  # ask GitLab whether it runs a job, then decide again
    CLOSE = "close"  # end the machine, delete the runner from GitLab, close the row
    RELAUNCH = "relaunch"  # close, and send the demand again with attempt + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """One runner with the facts of its cloud and of GitLab; None: not asked or not known."""

    runner: Runner
    machine_alive: bool | None
    ends_alone: bool = False  # no call can end it from outside: a goodbye is its end
    job_running: bool | None = None
    is_ordered: bool = False  # a person's order ends it at once


@dataclass(frozen=True, slots=True, kw_only=True)
class ReapPlan:
    """The fate of one runner and why."""

    runner: Runner
    fate: Fate
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray(HasUtcTimes):
    """A machine, or a runner record in GitLab, that carries the fleet's name and has no row."""

    id: str
    seen_since: datetime
    busy: bool


def decide_reap(suspect: Suspect, limits: Limits, *, at: datetime) -> ReapPlan:
    """Keep it, ask GitLab first, close it, or close it and launch again for its job.

    All times of the runner must be by the fleet's clock: see `fleet.rules.liveness.by_our_clock`.
    """
    runner = suspect.runner
    for rule in (_ordered, _gone, _said_goodbye, _expired, _never_reported, _went_silent):
        plan = rule(suspect, limits, at)
        if plan is not None:
            return plan
    return ReapPlan(runner=runner, fate=Fate.KEEP, reason=Reason.HEALTHY)


def _ordered(suspect: Suspect, limits: Limits, at: datetime) -> ReapPlan | None:
    """A person ended it, with a job or without; a machine that only ends alone has its order."""
    if not suspect.is_ordered or suspect.ends_alone:
        return None
    runner = suspect.runner
    return _ended(runner, is_owed=runner.owes_a_job, reason=Reason.ORDERED)


def _gone(suspect: Suspect, limits: Limits, at: datetime) -> ReapPlan | None:
    """The cloud shows that the machine ended; a machine that it never showed is only late."""
    runner = suspect.runner
    if suspect.machine_alive is not False or runner.machine_id is None:
        return None
    if is_unnamed(runner) and may_hear(runner, at):  # its job's events close it, unasked
        return ReapPlan(runner=runner, fate=Fate.KEEP, reason=Reason.GRACE)
    if runner.went_unserved:  # it powered off before a sweep saw its goodbye
        return ReapPlan(runner=runner, fate=Fate.RELAUNCH, reason=Reason.WENT_UNSERVED)
    is_owed = runner.owes_a_job or (runner.covers and not runner.is_called_off)
    return _ended(runner, is_owed=is_owed, reason=Reason.MACHINE_GONE)


def _ended(runner: Runner, *, is_owed: bool, reason: Reason) -> ReapPlan:
    """Its end costs its job an attempt, if that job still waits.

    Otherwise a fault that ends machines before their job would cause launches for ever.
    """
    fate = Fate.RELAUNCH if is_owed else Fate.CLOSE
    return ReapPlan(runner=runner, fate=fate, reason=reason)


def _said_goodbye(suspect: Suspect, limits: Limits, at: datetime) -> ReapPlan | None:
    """A job in control of its machine can say goodbye for it: GitLab must agree."""
    runner = suspect.runner
    if runner.state is not RunnerState.DONE:
        return None
    since = runner.changed_at or runner.heartbeat_at or runner.launched_at
    reason = Reason.FINISHED if runner.job else Reason.WENT_UNSERVED
    has_expired = runner.expires_at <= at
    is_over = (suspect.ends_alone and runner.job is not None) or has_expired
    if at - since < GOODBYE_GRACE and not is_over:
        return ReapPlan(runner=runner, fate=Fate.KEEP, reason=reason)
    plan = _ended(runner, is_owed=runner.went_unserved, reason=reason)
    # To close it ends nothing: neither a machine nor a record in GitLab.
    is_harmless = suspect.ends_alone and runner.gitlab_runner_id is None
    if has_expired or is_harmless:
        return plan
    return _confirmed(suspect, fate=plan.fate, reason=reason, busy=Reason.STILL_BUSY)


def _expired(suspect: Suspect, limits: Limits, at: datetime) -> ReapPlan | None:
    """No job of GitLab's can run past the lifetime: the job timeout is shorter."""
    runner = suspect.runner
    if runner.expires_at > at:
        return None
    is_owed = runner.owes_a_job and runner.state is not RunnerState.REQUESTED
    return _ended(runner, is_owed=is_owed, reason=Reason.EXPIRED)


def _never_reported(suspect: Suspect, limits: Limits, at: datetime) -> ReapPlan | None:
    """No heartbeat by the boot deadline; a runner with a job in GitLab is kept."""
    runner = suspect.runner
    if runner.heartbeat_at is not None or runner.state not in BOOTING:
        return None
    if (at - runner.launched_at).total_seconds() < limits.boot_deadline_s:
        return None
    # A drained runner is already replaced. The cloud never confirmed a requested one: scaling
    # launches for its job again, and an outage of the cloud costs no attempt.
    is_owed = runner.state is RunnerState.IN_FLIGHT and not runner.is_called_off
    fate = Fate.RELAUNCH if is_owed else Fate.CLOSE
    return _confirmed(suspect, fate=fate, reason=Reason.BOOT_DEADLINE)


def _went_silent(suspect: Suspect, limits: Limits, at: datetime) -> ReapPlan | None:
    """No heartbeat for too long; a runner without any may be at work by GitLab's webhook."""
    runner = suspect.runner
    if runner.heartbeat_at is None and runner.state in BOOTING:
        return None
    heard_at = runner.heartbeat_at or runner.since
    if (at - heard_at).total_seconds() < limits.stalled_after_s:
        return None
    fate = Fate.RELAUNCH if runner.owes_a_job else Fate.CLOSE
    return _confirmed(suspect, fate=fate, reason=Reason.STALLED)


def _confirmed(
    suspect: Suspect, *, fate: Fate, reason: Reason, busy: Reason = Reason.STALLED_BUT_BUSY
) -> ReapPlan:
    """The second, independent proof: GitLab shows no job on the runner. `busy`: if it shows one."""
    runner = suspect.runner
    works = runner.state is RunnerState.BUSY or runner.job is not None
    # With a credential it may have an unreported job, also on the pool's shared record.
    if runner.gitlab_runner_id is None and not runner.equipped and not works:
        return ReapPlan(runner=runner, fate=fate, reason=reason)
    if suspect.job_running is None:
        return ReapPlan(runner=runner, fate=Fate.ASK, reason=reason)
    if suspect.job_running:
        return ReapPlan(runner=runner, fate=Fate.KEEP, reason=busy)
    return ReapPlan(runner=runner, fate=fate, reason=reason)


def is_expired(expires_at: datetime | None, at: datetime) -> bool:
    """Whether a timer that fires now may end what it names; a schedule has whole seconds."""
    return expires_at is not None and expires_at - at <= TIMER_EARLY


def expired_of(launch_id: str, members: Iterable[Member], at: datetime) -> list[Member]:
    """The machines, or the runners, that the timer of a launch may end now.

    The timer is one signal; the time in each one's own tag or row is the other.
    """
    return [
        member
        for member in members
        if member.launch_id == launch_id and is_expired(member.expires_at, at)
    ]


def decide_strays(strays: Iterable[Stray], known: Mapping[str, object], at: datetime) -> list[str]:
    """Ids of machines or runner records to remove: the fleet's by name, without a row, not new.

    `known` has the ids of the live rows.
    """
    return [
        stray.id
        for stray in strays
        if stray.id not in known and not stray.busy and at - stray.seen_since >= UNKNOWN_AFTER
    ]
