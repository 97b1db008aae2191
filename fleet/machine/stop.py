"""When a running gitlab-runner is stopped, and with which force. Pure; used inside the machine.

gitlab-runner ends by itself after its job. These rules are for when it does not, or must not.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from fleet.machine.mailbox import MachineState
from fleet.machine.runner_log import RunnerLog
from fleet.times import HasUtcTimes


class Force(StrEnum):
    """The ways to stop the runner's process, from gentle to final."""

    DRAIN = "drain"  # SIGQUIT: finish the job, take no other
    INTERRUPT = "interrupt"  # SIGTERM: abort the job, tell GitLab, end
    KILL_JOB = "kill_job"  # the job's processes only, so that the runner can still tell GitLab
    KILL = "kill"  # everything


class Why(StrEnum):
    """Why a runner is stopped."""

    ORDERED = "ordered"
    SECOND_JOB = "second_job"
    SPOT_NOTICE = "spot_notice"
    FORBIDDEN = "forbidden"
    NEVER_STARTED = "never_started"
    WAIT_OVERRUN = "wait_overrun"
    END_OF_MACHINE = "end_of_machine"
    IGNORED_INTERRUPT = "ignored_interrupt"
    IGNORED_CANCEL = "ignored_cancel"  # the job's processes live on after it was canceled


# A runner that ends for one of these without a job has not failed.
CALLS_OFF = frozenset({Why.ORDERED, Why.SPOT_NOTICE, Why.END_OF_MACHINE, Why.WAIT_OVERRUN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A force to use on the runner now, and why."""

    force: Force
    why: Why


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(HasUtcTimes):
    """One run of gitlab-runner as observed at `at`, with the forces `used` already."""

    at: datetime
    started_at: datetime
    ends_at: datetime  # the machine's end: expiry, or Lambda's wall
    wait_timeout_s: int
    log: RunnerLog
    ordered: bool = False  # to drain
    spot_at: datetime | None = None  # AWS takes the machine back then
    listens: bool = True  # the process handles SIGQUIT by now
    used: frozenset[Force] = frozenset()
    drained_at: datetime | None = None  # when SIGQUIT was last sent
    interrupted_at: datetime | None = None
    canceled_at: datetime | None = None  # when the log said so


START_AT_MOST = timedelta(seconds=30)  # from exec to the first line with a meaning
OVERRUN = timedelta(seconds=60)  # one long poll of 50 s, one pause of 3 s, and a margin
# The runner gives itself 30 s after SIGTERM, but a script that ignores SIGTERM has ten minutes:
# without this the runner would end without telling GitLab (killer.go, common/consts.go).
JOB_KILLED_AFTER = timedelta(seconds=15)
KILLED_AFTER = timedelta(seconds=35)
# gitlab-runner drops a signal that comes while it is not waiting for one (an unbuffered channel).
DRAIN_AGAIN = timedelta(seconds=2)
LISTENS_AFTER = timedelta(seconds=10)  # since "Starting runner", where nothing proves it sooner
BEFORE_THE_END = timedelta(seconds=45)  # KILLED_AFTER, plus time to report and to clean up


def decide_stop(run: Run) -> Stop | None:
    """The stop that is due now; `None`: let the runner work.

    No force is used twice, except a drain that the runner did not answer.
    """
    if run.interrupted_at is not None:
        return _press_on(run, run.interrupted_at)
    why = _must_end(run)
    if why is not None:
        return Stop(force=Force.INTERRUPT, why=why)
    canceled = _end_canceled(run)
    if canceled is not None:
        return canceled
    why = _should_end(run)
    # A SIGQUIT before the runner listens for it would end it with a stack trace (Go's default).
    if why is not None and run.log.started and run.listens and not _is_draining(run):
        return Stop(force=Force.DRAIN, why=why)
    return None


def _is_draining(run: Run) -> bool:
    """Whether the runner answered a SIGQUIT, or may still answer the last one."""
    if Force.DRAIN not in run.used:
        return False
    if run.log.quitting or run.drained_at is None:
        return True
    return run.at - run.drained_at < DRAIN_AGAIN


def _end_canceled(run: Run) -> Stop | None:
    """gitlab-runner itself lets a script that ignores its SIGTERM run on for ten minutes."""
    if run.canceled_at is None or run.log.outcome is not None:
        return None
    since = run.at - run.canceled_at
    if since >= KILLED_AFTER and run.log.is_over and Force.KILL not in run.used:
        return Stop(force=Force.KILL, why=Why.IGNORED_CANCEL)
    if since >= JOB_KILLED_AFTER and Force.KILL_JOB not in run.used:
        return Stop(force=Force.KILL_JOB, why=Why.IGNORED_CANCEL)
    return None


def _must_end(run: Run) -> Why | None:
    if run.at >= run.ends_at - BEFORE_THE_END:
        return Why.END_OF_MACHINE
    if run.spot_at is not None and run.at >= run.spot_at - BEFORE_THE_END:
        return Why.SPOT_NOTICE
    if run.log.jobs:
        return None
    if run.log.forbidden:  # else it would sleep 300 s and ask again (common/consts.go)
        return Why.FORBIDDEN
    waited = run.at - run.started_at
    if not run.log.started and waited >= START_AT_MOST:
        return Why.NEVER_STARTED
    if waited >= timedelta(seconds=run.wait_timeout_s) + OVERRUN:
        return Why.WAIT_OVERRUN
    return None


def _should_end(run: Run) -> Why | None:
    if run.spot_at is not None:
        return Why.SPOT_NOTICE
    if run.ordered:
        return Why.ORDERED
    # gitlab-runner does not count a job that is canceled at its very start, and takes another.
    if run.log.jobs > 1 and run.log.state is MachineState.BUSY:
        return Why.SECOND_JOB
    return None


def _press_on(run: Run, interrupted_at: datetime) -> Stop | None:
    since = run.at - interrupted_at
    if since >= KILLED_AFTER and Force.KILL not in run.used:
        return Stop(force=Force.KILL, why=Why.IGNORED_INTERRUPT)
    if since >= JOB_KILLED_AFTER and run.log.jobs and Force.KILL_JOB not in run.used:
        return Stop(force=Force.KILL_JOB, why=Why.IGNORED_INTERRUPT)
    return None


def hears_drain(
    *, heard_before: bool, hears: bool, started_at: datetime | None, at: datetime
) -> bool:
    """Whether a drain reaches the runner: two looks show it, or it had all the time it needs.

    `heard_before`, `hears`: whether its process handled SIGQUIT at the look before, and at this
    one; `started_at`: since when its log says that it started.
    """
    is_surely_up = started_at is not None and at - started_at >= LISTENS_AFTER
    return is_surely_up or (heard_before and hears)
