"""What to close when a job started, a job ended, or a machine ends."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from fleet.model import Job, JobKey, Runner, RunnerState
from fleet.reasons import WITHOUT_POOL, Reason
from fleet.rules.job_runner import is_unnamed
from fleet.rules.liveness import FRESH

# How long a machine may take to end by itself after GitLab reported its job's end. Most need a
# second, more with a cache or artifacts to upload.
GRACES = (timedelta(seconds=2), timedelta(seconds=15))
GRACE_ROUNDS = len(GRACES)


class Happening(StrEnum):
    """What settle was started for."""

    FINISHED = "finished"
    MACHINE_GONE = "machine_gone"
    SPOT_NOTICE = "spot_notice"
    INVOCATION_FAILED = "invocation_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleFacts:
    """The happening with the runner it concerns, if that is known."""

    happening: Happening
    round: int  # 0 at first, plus 1 after each wait
    job: JobKey | None = None
    runner: Runner | None = None
    ends_alone: bool = False  # no call can end the machine from outside
    machine_alive: bool | None = None  # as its cloud says; None: it cannot say, or not yet
    is_ordered: bool = False  # a person ordered its end at once
    silent_for: timedelta = timedelta()  # its mailbox, for certain, by the ledger's clock
    ran_there: bool = False  # GitLab: the job ran on that runner, and is over
    job_running: bool | None = None  # GitLab: some job runs on that runner; None: not asked


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlePlan:
    """What to do. `wait_s`: decide again after this wait, no machine is ended yet."""

    reason: Reason
    close: bool = False  # end the machine, delete the runner from GitLab, close its row
    relaunch: bool = False  # the job it was there for still needs a runner
    drain: bool = False
    wait_s: float | None = None
    ask: bool = False  # ask GitLab whether a job runs there, then decide again


def decide_settle(facts: SettleFacts) -> SettlePlan:
    """Close the runner once its machine ended, or after a grace; never a busy one.

    An event ends nothing by itself: the cloud, the ledger's clock or GitLab must say so, too.
    """
    runner = facts.runner
    if runner is None:
        finished = facts.happening is Happening.FINISHED
        return SettlePlan(reason=Reason.FINISHED if finished else Reason.NO_RECORD)
    if facts.happening is Happening.FINISHED:
        return _finished(facts, runner)
    if facts.happening is Happening.SPOT_NOTICE:
        return SettlePlan(reason=Reason.SPOT_NOTICE, drain=runner.covers)
    if facts.happening is Happening.INVOCATION_FAILED:
        return _invocation_failed(facts, runner)
    if facts.machine_alive is not False:
        return SettlePlan(reason=Reason.UNCONFIRMED)
    if is_unnamed(runner) and facts.round == 0:  # a question to GitLab saved, in nearly all cases
        return SettlePlan(reason=Reason.GRACE, wait_s=GRACES[-1].total_seconds())
    gone = Reason.ORDERED if facts.is_ordered else Reason.MACHINE_GONE
    reason = Reason.WENT_UNSERVED if runner.went_unserved else gone
    return SettlePlan(reason=reason, close=True, relaunch=_unserved(runner))


def wakes_scaling(plan: SettlePlan, *, idle_target: int, wants_room: bool) -> bool:
    """Whether the end of a runner gives the autoscaler something to do: most do not.

    Its pool keeps `idle_target` runners warm now; `wants_room`: a job waits for room in it.
    """
    is_room_wanted = idle_target > 0 or wants_room
    return plan.relaunch or plan.drain or (plan.close and is_room_wanted)


def took_uncounted(job: Job, runner: Runner) -> bool:
    """Whether a runner took a job that was no part of its pool's backlog.

    `job` is the taken job's row before. The job that the runner was launched for then has no
    runner, and no later event of either job says so.
    """
    was_routed = job.reason is not None and job.reason not in WITHOUT_POOL
    return not was_routed or job.pool != runner.pool


def _finished(facts: SettleFacts, runner: Runner) -> SettlePlan:
    """The job's end is the first signal; the machine's goodbye or GitLab's answer the second."""
    if runner.state is RunnerState.DONE:
        return SettlePlan(reason=Reason.FINISHED, close=True)
    if runner.state is RunnerState.BUSY and runner.job not in {None, facts.job}:
        return SettlePlan(reason=Reason.STILL_BUSY)
    if facts.round < GRACE_ROUNDS:
        return SettlePlan(reason=Reason.GRACE, wait_s=GRACES[facts.round].total_seconds())
    if facts.ends_alone:  # closing its row would free room that the machine still uses
        return SettlePlan(reason=Reason.ENDS_ALONE)
    if facts.job_running is None:
        return SettlePlan(reason=Reason.GRACE, ask=True)
    if facts.job_running:
        return SettlePlan(reason=Reason.STILL_BUSY)
    if not facts.ran_there:
        return SettlePlan(reason=Reason.UNCONFIRMED)
    return SettlePlan(reason=Reason.FINISHED, close=True)


def _invocation_failed(facts: SettleFacts, runner: Runner) -> SettlePlan:
    """The event is one signal; the mailbox, silent for longer than a heartbeat, is the other."""
    if not facts.ends_alone:
        return SettlePlan(reason=Reason.UNCONFIRMED)
    if facts.silent_for < FRESH:
        if facts.round == 0:
            return SettlePlan(reason=Reason.GRACE, wait_s=FRESH.total_seconds())
        return SettlePlan(reason=Reason.UNCONFIRMED)
    took = runner.job is not None or runner.state is RunnerState.BUSY
    reason = Reason.MACHINE_GONE if took else Reason.INVOCATION_FAILED
    return SettlePlan(reason=reason, close=True, relaunch=_unserved(runner))


def _unserved(runner: Runner) -> bool:
    """Whether it ended without a job while it covered one.

    A draining runner covers none: scaling already launched another in its place.
    """
    stands_by = runner.covers and runner.job is None and not runner.is_called_off
    return runner.went_unserved or stands_by
