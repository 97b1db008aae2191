"""When the agent stops a runner: the rules as a table of sentences."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fleet.machine.mailbox import MachineState
from fleet.machine.runner_log import RunnerLog
from fleet.machine.stop import Force, Run, Stop, Why, decide_stop, hears_drain
from fleet.steps import Outcome

START = datetime(2026, 8, 20, 9, 0, tzinfo=UTC)
LATER = START + timedelta(hours=3)
IDLE = RunnerLog(started=True)
BUSY = RunnerLog(started=True, jobs=1, state=MachineState.BUSY, job_id=1)
CANCELED = replace(BUSY, canceled=True)
DRAINED, KILLED_JOB = frozenset({Force.DRAIN}), frozenset({Force.KILL_JOB})


def run(after_s: float, log: RunnerLog = IDLE, **changes: object) -> Run:
    observed = Run(
        at=START + timedelta(seconds=after_s),
        started_at=START,
        ends_at=LATER,
        wait_timeout_s=300,
        log=log,
    )
    return replace(observed, **changes)  # type: ignore[arg-type]


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


STOPS: dict[str, Any] = {
    "an idle runner is left alone": (run(10), None, None),
    "so is a busy one, for hours": (run(9000, BUSY), None, None),
    "it ends its waiting by itself": (run(299), None, None),
    "a long poll may hold it over its time": (run(359), None, None),
    "but not for ever": (run(360), Force.INTERRUPT, Why.WAIT_OVERRUN),
    "a job has no waiting time": (run(360, BUSY), None, None),
    "a revoked token would keep it for 300 s": (
        run(5, replace(IDLE, forbidden=True)), Force.INTERRUPT, Why.FORBIDDEN
    ),
    "unless it has a job by now": (run(5, replace(BUSY, forbidden=True)), None, None),
    "it may take a while to start": (run(29, RunnerLog()), None, None),
    "but not half a minute": (run(30, RunnerLog()), Force.INTERRUPT, Why.NEVER_STARTED),
    "order while idle": (run(1, ordered=True), Force.DRAIN, Why.ORDERED),
    "not before the runner listens": (run(1, RunnerLog(), ordered=True), None, None),
    "nor before it has its handler": (run(1, ordered=True, listens=False), None, None),
    "again, where it did not answer": (
        run(9, ordered=True, used=DRAINED, drained_at=at(7)), Force.DRAIN,
        Why.ORDERED
    ),
    "it has two seconds to answer": (
        run(8, ordered=True, used=DRAINED, drained_at=at(7)), None, None
    ),
    "it answered, and finishes its job": (
        run(99, replace(BUSY, quitting=True), ordered=True, used=DRAINED, drained_at=at(7)),
        None, None
    ),
    "15 s after a cancel": (run(24, CANCELED, canceled_at=at(10)), None, None),
    "then what is left of the script is killed": (
        run(25, CANCELED, canceled_at=at(10)), Force.KILL_JOB, Why.IGNORED_CANCEL
    ),
    "its after_script may take longer": (
        run(99, CANCELED, canceled_at=at(10), used=KILLED_JOB), None, None
    ),
    "where GitLab waits for nothing more, the runner goes too": (
        run(45, replace(CANCELED, is_over=True), canceled_at=at(10), used=KILLED_JOB),
        Force.KILL, Why.IGNORED_CANCEL
    ),
    "the canceled job ended by itself": (
        run(99, replace(CANCELED, outcome=Outcome.CANCELED), canceled_at=at(10)), None, None
    ),
    "order while busy": (run(1, BUSY, ordered=True), Force.DRAIN, Why.ORDERED),
    "nothing is asked for twice": (
        run(1, BUSY, ordered=True, used=DRAINED), None, None
    ),
    "a second job, no third": (run(1, replace(BUSY, jobs=2)), Force.DRAIN, Why.SECOND_JOB),
    "after a spot notice the job may still make it": (
        run(0, BUSY, spot_at=at(120)), Force.DRAIN, Why.SPOT_NOTICE
    ),
    "it has until 45 s before": (
        run(74, BUSY, spot_at=at(120), used=DRAINED), None, None
    ),
    "then GitLab must learn of it": (
        run(75, BUSY, spot_at=at(120), used=DRAINED), Force.INTERRUPT,
        Why.SPOT_NOTICE
    ),
    "46 s before the machine's end": (run(0, BUSY, ends_at=at(46)), None, None),
    "45 s before the machine's end": (
        run(1, BUSY, ends_at=at(46)), Force.INTERRUPT, Why.END_OF_MACHINE
    ),
    "what must be comes before what should be": (
        run(1, BUSY, ends_at=at(46), spot_at=at(300), ordered=True), Force.INTERRUPT,
        Why.END_OF_MACHINE
    ),
}  # fmt: skip


@pytest.mark.parametrize(("observed", "force", "why"), STOPS.values(), ids=STOPS)
def test_decide_stop(observed: Run, force: Force | None, why: Why | None) -> None:
    expected = None if force is None or why is None else Stop(force=force, why=why)
    assert decide_stop(observed) == expected


INTERRUPTED = frozenset({Force.INTERRUPT})


PRESSED: dict[str, Any] = {
    "15 s for the job to end": (run(114, BUSY, used=INTERRUPTED), None),
    "then it is killed": (run(115, BUSY, used=INTERRUPTED), Force.KILL_JOB),
    "once is enough": (run(116, BUSY, used=INTERRUPTED | KILLED_JOB), None),
    "without a job nothing to kill": (run(115, IDLE, used=INTERRUPTED), None),
    "the runner's own 30 s": (run(134, BUSY, used=INTERRUPTED | KILLED_JOB), None),
    "then everything": (run(135, BUSY, used=INTERRUPTED | KILLED_JOB), Force.KILL),
    "idle or not": (run(135, IDLE, used=INTERRUPTED), Force.KILL),
    "killed is killed": (run(900, IDLE, used=INTERRUPTED | {Force.KILL}), None),
    "an order no longer changes anything": (run(101, BUSY, used=INTERRUPTED, ordered=True), None),
}  # fmt: skip


@pytest.mark.parametrize(("observed", "force"), PRESSED.values(), ids=PRESSED)
def test_an_interrupted_runner_is_pressed_on(observed: Run, force: Force | None) -> None:
    stop = decide_stop(replace(observed, interrupted_at=at(100)))
    assert (stop and stop.force) == force
    assert stop is None or stop.why is Why.IGNORED_INTERRUPT


def test_the_job_is_killed_while_the_runner_can_still_tell_gitlab() -> None:
    """gitlab-runner gives itself 30 s after SIGTERM (common/consts.go)."""
    busy = replace(run(0, BUSY, used=INTERRUPTED), interrupted_at=START)
    acts = [
        second
        for second in range(60)
        if decide_stop(replace(busy, at=START + timedelta(seconds=second)))
    ]
    assert 0 < acts[0] <= 20


@pytest.mark.parametrize(
    ("heard_before", "hears", "started_at", "reached"),
    [
        pytest.param(False, True, None, False, id="one look proves nothing"),
        pytest.param(True, False, at(91), False, id="nor does one before"),
        pytest.param(True, True, None, True, id="two looks do"),
        pytest.param(False, False, at(90), True, id="it started ten seconds ago"),
    ],
)
def test_a_drain_waits_until_the_runner_hears_it(
    heard_before: bool, hears: bool, started_at: datetime | None, reached: bool
) -> None:
    heard = hears_drain(heard_before=heard_before, hears=hears, started_at=started_at, at=at(100))
    assert heard is reached
