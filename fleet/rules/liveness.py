"""A runner's row joined with its machine's last report: what the fleet believes of it, and since
when. A machine's clock may show anything, and so may what it writes: no rule reads its times.

What counts as a sign of life is a report that differs from the one before. The sweep notes, by our
own clock, when it first sees a report, wherever the report's own date does not prove it fresh.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from fleet.machine.mailbox import MachineState, Report
from fleet.model import JobKey, Note, Runner, RunnerState, Sign
from fleet.steps import Step, StepName

# A report dated this lately needs no note: one heartbeat, and half of one. Where the machine's
# clock is ahead by as much, its silence is found so much later.
FRESH = timedelta(seconds=45)
AHEAD = timedelta(seconds=5)  # of our clock: as far as clocks that are set by a time service differ
# A machine that the cloud does not show yet may be younger than the cloud's own answer.
SHOWN_AFTER = timedelta(minutes=2)
# Clocks are wrong by less than that, or it does not matter any more by how much.
LONGEST_SKEW = timedelta(days=366)


def heard(
    runner: Runner,
    report: Report | None,
    instance: str,
    *,
    note: Note | None = None,
) -> Runner:
    """The runner as its machine last told, where that is news; the row as it is without one.

    The `running` webhook may know of a job before the report does, so busy is never undone by
    an older "idle". A draining runner stays so until it is busy or done. `instance`: the GitLab
    that the report's job is of. `note`: the last that the fleet made of a report.

    Its times are the machine's; `by_our_clock` makes them ours.
    """
    if report is None:
        return runner
    state = _state(runner, report)
    job = runner.job
    if report.job_id is not None:
        job = JobKey(instance=instance, job_id=report.job_id)
    claimed = None
    if state is not runner.state:
        claimed = report.steps[-1].at if report.steps else report.heartbeat_at
    return replace(
        runner,
        state=state,
        job=job,
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
    """AWS told the machine itself; the event that tells the fleet may be late or lost."""
    return any(step.name is StepName.SPOT_NOTICE for step in report.steps)


def due_note(runner: Runner, at: datetime, *, fresh_for: timedelta = FRESH) -> Note | None:
    """The note that its last report is first seen now; `None` where its own date will do.

    A goodbye is the last word: there is no silence to find, so any date that can be true will do.
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
    """The runner with a note that was just made."""
    return replace(runner, sign=replace(runner.sign, note=note)) if runner.sign else runner


def by_our_clock(runner: Runner, at: datetime) -> Runner:
    """The runner with the times of its last sign of life and of its state by our clock.

    A report that was noted came when it was first seen; any other came after the note before it.
    """
    sign = runner.sign
    if sign is None:
        return runner
    note = sign.note
    earliest = max(runner.launched_at, note.at) if note else runner.launched_at
    heard_at = earliest if sign.is_noted else min(max(sign.dated, earliest), max(at, earliest))
    changed_at = runner.changed_at
    if sign.changed is not None:  # so long before the report, by one and the same clock
        before = max(sign.dated - sign.changed, timedelta())
        changed_at = max(runner.launched_at, heard_at - min(before, LONGEST_SKEW))
        if note and note.state is runner.state:
            changed_at = min(changed_at, note.since)
    return replace(runner, heartbeat_at=heard_at, changed_at=changed_at)


def steps_between(steps: Iterable[Step], *, start: datetime, end: datetime) -> tuple[Step, ...]:
    """A machine's steps, dated so that they lie between its launch and now, in their own order.

    A clock that is wrong by one and the same time is set right by the least that is needed; one
    that jumps or drifts keeps the order.
    """
    told = tuple(steps)
    low, high = start - LONGEST_SKEW, max(start, end) + LONGEST_SKEW
    times = [min(max(step.at, low), high) for step in told]
    late_by = max((at - end for at in times), default=timedelta())
    early_by = max((start - at for at in times), default=timedelta())
    shift = -late_by if late_by > timedelta() else max(early_by, timedelta())
    dated, before = [], start
    for step, at in zip(told, times, strict=True):
        before = max(before, min(at + shift, max(start, end)))
        dated.append(replace(step, at=before))
    return tuple(dated)


def is_alive(
    runner: Runner, *, can_tell: bool, shown_alive: bool | None, at: datetime
) -> bool | None:
    """Whether a runner's machine lives; None where its cloud cannot say, or not yet.

    `can_tell`: the cloud gave a list of machines; `shown_alive`: what it shows of this one, None
    where the list leaves it out. All times of the runner must be of our own clock.
    """
    if runner.machine_lost:
        return False
    if not can_tell or runner.machine_id is None:
        return None
    if shown_alive is not None:
        return shown_alive
    # One answer of the cloud may leave a machine out: a sign of life since then counts for more.
    heard_at = runner.heartbeat_at or runner.launched_at
    return None if at - heard_at < SHOWN_AFTER else False


def says_busy(
    report: Report | None, at: datetime, *, first_seen_at: datetime | None = None
) -> bool | None:
    """Whether a machine without a row reported lately that it has a job.

    None: its date proves nothing; ask again with the time at which this very report was first
    seen, by our clock.
    """
    if report is None or report.state is not MachineState.BUSY:
        return False
    if at - FRESH <= report.heartbeat_at <= at + AHEAD:
        return True
    return at - first_seen_at < SHOWN_AFTER if first_seen_at is not None else None
