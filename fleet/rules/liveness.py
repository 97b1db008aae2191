"""A runner's row joined with its machine's last report: the runner's state, and since when.

A machine's clock and its reports may be wrong: no rule reads the machine's times. A sign of life
is a report that differs from the report before. The sweep notes, by the fleet's clock, when it
first reads a report whose own date does not prove it fresh.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from fleet.machine.mailbox import MachineState, Report
from fleet.model import JobKey, Note, Runner, RunnerState, Sign
from fleet.steps import Step, StepName

# A report with a younger date needs no note: 1.5 heartbeats. If a machine's clock is ahead by as
# much, the fleet notices as much later that the machine is stalled.
FRESH = timedelta(seconds=45)
# Synchronized clocks are usually ahead of the fleet's by less than this.
AHEAD = timedelta(seconds=5)
# A machine that the cloud does not show may be younger than the cloud's answer.
SHOWN_AFTER = timedelta(minutes=2)
# A larger difference of clocks counts as this one.
LONGEST_SKEW = timedelta(days=366)


def with_report(
    runner: Runner,
    report: Report | None,
    instance: str,
    *,
    note: Note | None = None,
) -> Runner:
    """The runner as its machine last reported it; the row unchanged without a report.

    The `running` webhook may be ahead of the report, so an older "idle" never undoes busy. A
    draining runner stays so until it is busy or done. The report's job is a claim: `job` is
    GitLab's word alone. `instance`: the GitLab of the report's job. `note`: the last note of a
    report.

    Its times are by the machine's clock; `by_our_clock` converts them.
    """
    if report is None:
        return runner
    state = _state(runner, report)
    claim = None
    if report.job_id is not None:
        claim = JobKey(instance=instance, job_id=report.job_id)
    claimed = None
    if state is not runner.state:
        claimed = report.steps[-1].at if report.steps else report.heartbeat_at
    return replace(
        runner,
        state=state,
        claim=claim,
        heartbeat_at=report.heartbeat_at,
        changed_at=claimed or runner.changed_at,
        asks=report.state is MachineState.IDLE,
        is_called_off=runner.state is RunnerState.DRAINING or _was_taken_back(report),
        sign=Sign(
            mark=report.mark,
            dated=report.heartbeat_at,
            changed=claimed,
            began=report.steps[0].at if report.steps else None,
            note=note,
        ),
    )


def _state(runner: Runner, report: Report) -> RunnerState:
    if report.state is MachineState.DONE:
        return RunnerState.DONE
    if report.state is MachineState.BUSY:
        return RunnerState.BUSY
    if runner.state in {RunnerState.BUSY, RunnerState.DRAINING}:
        return runner.state
    return RunnerState.IDLE


def _was_taken_back(report: Report) -> bool:
    """The machine got AWS's notice; the event to the fleet may be late or lost."""
    return any(step.name is StepName.SPOT_NOTICE for step in report.steps)


def due_note(runner: Runner, at: datetime, *, fresh_for: timedelta = FRESH) -> Note | None:
    """The note that its last report is first read now; `None` where the report's date suffices.

    A goodbye is the last report: no silence follows, so any possible date suffices.
    """
    sign = runner.sign
    if sign is None or sign.is_noted:
        return None
    if runner.state is RunnerState.DONE:
        began_early = sign.began is not None and sign.began < runner.launched_at - AHEAD
        is_dated = runner.launched_at - AHEAD <= sign.dated <= at + AHEAD and not began_early
    else:
        is_dated = at - fresh_for <= sign.dated <= at + AHEAD
    if is_dated:
        return None
    before = sign.note
    since = before.since if before and before.state is runner.state else at
    return Note(mark=sign.mark, at=at, state=runner.state, since=since)


def with_note(runner: Runner, note: Note) -> Runner:
    """The runner with its new note."""
    return replace(runner, sign=replace(runner.sign, note=note)) if runner.sign else runner


def by_our_clock(runner: Runner, at: datetime) -> Runner:
    """The runner with the times of its last sign of life and of its state by the fleet's clock.

    A noted report counts from its note; any other report counts as later than the note before it.
    """
    sign = runner.sign
    if sign is None:
        return runner
    note = sign.note
    earliest = max(runner.launched_at, note.at) if note else runner.launched_at
    heard_at = earliest if sign.is_noted else min(max(sign.dated, earliest), max(at, earliest))
    changed_at = runner.changed_at
    if sign.changed is not None:  # both dates are by the machine's clock
        before = max(sign.dated - sign.changed, timedelta())
        changed_at = max(runner.launched_at, heard_at - min(before, LONGEST_SKEW))
        if note and note.state is runner.state:
            changed_at = min(changed_at, note.since)
    return replace(runner, heartbeat_at=heard_at, changed_at=changed_at)


def silent_for(runner: Runner, at: datetime) -> timedelta:
    """How long its mailbox is silent for certain, by our own clock: since its note, or launch.

    Nothing while its last report is not noted, with any date.
    """
    if runner.sign is None:
        return at - runner.launched_at
    note = runner.sign.note
    return at - note.at if note is not None and runner.sign.is_noted else timedelta()


def stalled_since(runner: Runner, after: timedelta, at: datetime) -> datetime | None:
    """The last sign of life of a runner that gave none for `after`; None for any other runner."""
    heard_at = runner.heartbeat_at
    return heard_at if heard_at is not None and at - heard_at >= after else None


def steps_between(steps: Iterable[Step], *, start: datetime, end: datetime) -> tuple[Step, ...]:
    """A machine's steps, with dates between `start` and `end`, in their own order.

    A clock with a constant error is corrected by the least shift; a clock that jumps or drifts
    keeps the order.
    """
    ordered = tuple(steps)
    low, high = start - LONGEST_SKEW, max(start, end) + LONGEST_SKEW
    times = [min(max(step.at, low), high) for step in ordered]
    late_by = max((at - end for at in times), default=timedelta())
    early_by = max((start - at for at in times), default=timedelta())
    shift = -late_by if late_by > timedelta() else max(early_by, timedelta())
    dated, before = [], start
    for step, at in zip(ordered, times, strict=True):
        before = max(before, min(at + shift, max(start, end)))
        dated.append(replace(step, at=before))
    return tuple(dated)


def is_alive(
    runner: Runner, *, can_tell: bool, shown_alive: bool | None, at: datetime
) -> bool | None:
    """Whether a runner's machine lives; None where its cloud cannot say, or not yet.

    `can_tell`: the cloud gave a list of machines; `shown_alive`: whether the list shows this one
    alive, None where it is not listed. All times of the runner must be by the fleet's clock.
    """
    if runner.machine_lost:
        return False
    if not can_tell or runner.machine_id is None:
        return None
    if shown_alive is not None:
        return shown_alive
    # A list may leave a machine out: a later sign of life counts for more.
    heard_at = runner.heartbeat_at or runner.launched_at
    return None if at - heard_at < SHOWN_AFTER else False


def says_busy(
    report: Report | None, at: datetime, *, first_seen_at: datetime | None = None
) -> bool | None:
    """Whether a machine without a row reported lately that it has a job.

    None: the report's date proves nothing; call again with the time at which this very report was
    first read, by the fleet's clock.
    """
    if report is None or report.state is not MachineState.BUSY:
        return False
    if at - FRESH <= report.heartbeat_at <= at + AHEAD:
        return True
    return at - first_seen_at < SHOWN_AFTER if first_seen_at is not None else None
