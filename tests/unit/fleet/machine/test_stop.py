"""When a runner is told to stop: the rules as a table of sentences."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fleet.machine.mailbox import MachineState
from fleet.machine.runner_log import RunnerLog
from fleet.machine.stop import Force, Run, Stop, Why, decide_stop
from fleet.steps import Outcome

START = datetime(2026, 8, 20, 9, 0, tzinfo=UTC)
LATER = START + timedelta(hours=3)
IDLE = RunnerLog(started=True)
BUSY = RunnerLog(started=True, jobs=1, state=MachineState.BUSY, job_id=1)
CANCELED = replace(BUSY, canceled=True)


def run(after_s: float, log: RunnerLog = IDLE, **changes: object) -> Run:
    seen = Run(
        at=START + timedelta(seconds=after_s),
        started_at=START,
        ends_at=LATER,
        wait_timeout_s=300,
        log=log,
    )
    return replace(seen, **changes)  # type: ignore[arg-type]


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("seen", "force", "why"),
    [
        pytest.param(run(10), None, None, id="an idle runner is left alone"),
        pytest.param(run(9000, BUSY), None, None, id="so is a busy one, for hours"),
        pytest.param(run(299), None, None, id="it ends its waiting by itself"),
        pytest.param(run(359), None, None, id="a long poll may hold it over its time"),
        pytest.param(run(360), Force.INTERRUPT, Why.WAIT_OVERRUN, id="but not for ever"),
        pytest.param(run(360, BUSY), None, None, id="a job has no waiting time"),
        pytest.param(
            run(5, replace(IDLE, forbidden=True)),
            Force.INTERRUPT,
            Why.FORBIDDEN,
            id="a revoked token would keep it for 300 s",
        ),
        pytest.param(
            run(5, replace(BUSY, forbidden=True)), None, None, id="unless it has a job by now"
        ),
        pytest.param(run(29, RunnerLog()), None, None, id="it may take a while to start"),
        pytest.param(
            run(30, RunnerLog()), Force.INTERRUPT, Why.NEVER_STARTED, id="but not half a minute"
        ),
        pytest.param(run(1, ordered=True), Force.DRAIN, Why.ORDERED, id="order while idle"),
        pytest.param(
            run(1, RunnerLog(), ordered=True), None, None, id="not before the runner listens"
        ),
        pytest.param(
            run(1, ordered=True, listens=False), None, None, id="nor before it has its handler"
        ),
        pytest.param(
            run(9, ordered=True, done=frozenset({Force.DRAIN}), drained_at=at(7)),
            Force.DRAIN,
            Why.ORDERED,
            id="again, where it did not answer",
        ),
        pytest.param(
            run(8, ordered=True, done=frozenset({Force.DRAIN}), drained_at=at(7)),
            None,
            None,
            id="it has two seconds to answer",
        ),
        pytest.param(
            run(
                99,
                replace(BUSY, quitting=True),
                ordered=True,
                done=frozenset({Force.DRAIN}),
                drained_at=at(7),
            ),
            None,
            None,
            id="it answered, and finishes its job",
        ),
        pytest.param(run(24, CANCELED, canceled_at=at(10)), None, None, id="15 s after a cancel"),
        pytest.param(
            run(25, CANCELED, canceled_at=at(10)),
            Force.KILL_JOB,
            Why.IGNORED_CANCEL,
            id="then what is left of the script is killed",
        ),
        pytest.param(
            run(99, CANCELED, canceled_at=at(10), done=frozenset({Force.KILL_JOB})),
            None,
            None,
            id="its after_script may take longer",
        ),
        pytest.param(
            run(
                45,
                replace(CANCELED, is_over=True),
                canceled_at=at(10),
                done=frozenset({Force.KILL_JOB}),
            ),
            Force.KILL,
            Why.IGNORED_CANCEL,
            id="where GitLab waits for nothing more, the runner goes too",
        ),
        pytest.param(
            run(99, replace(CANCELED, outcome=Outcome.CANCELED), canceled_at=at(10)),
            None,
            None,
            id="the canceled job ended by itself",
        ),
        pytest.param(run(1, BUSY, ordered=True), Force.DRAIN, Why.ORDERED, id="order while busy"),
        pytest.param(
            run(1, BUSY, ordered=True, done=frozenset({Force.DRAIN})),
            None,
            None,
            id="nothing is asked for twice",
        ),
        pytest.param(
            run(1, replace(BUSY, jobs=2)), Force.DRAIN, Why.SECOND_JOB, id="a second job, no third"
        ),
        pytest.param(
            run(0, BUSY, spot_at=at(120)),
            Force.DRAIN,
            Why.SPOT_NOTICE,
            id="after a spot notice the job may still make it",
        ),
        pytest.param(
            run(74, BUSY, spot_at=at(120), done=frozenset({Force.DRAIN})),
            None,
            None,
            id="it has until 45 s before",
        ),
        pytest.param(
            run(75, BUSY, spot_at=at(120), done=frozenset({Force.DRAIN})),
            Force.INTERRUPT,
            Why.SPOT_NOTICE,
            id="then GitLab must learn of it",
        ),
        pytest.param(run(0, BUSY, ends_at=at(46)), None, None, id="46 s before the machine's end"),
        pytest.param(
            run(1, BUSY, ends_at=at(46)),
            Force.INTERRUPT,
            Why.END_OF_MACHINE,
            id="45 s before the machine's end",
        ),
        pytest.param(
            run(1, BUSY, ends_at=at(46), spot_at=at(300), ordered=True),
            Force.INTERRUPT,
            Why.END_OF_MACHINE,
            id="what must be comes before what should be",
        ),
    ],
)
def test_decide_stop(seen: Run, force: Force | None, why: Why | None) -> None:
    expected = None if force is None or why is None else Stop(force=force, why=why)
    assert decide_stop(seen) == expected


INTERRUPTED = frozenset({Force.INTERRUPT})


@pytest.mark.parametrize(
    ("seen", "force"),
    [
        pytest.param(run(114, BUSY, done=INTERRUPTED), None, id="15 s for the job to end"),
        pytest.param(run(115, BUSY, done=INTERRUPTED), Force.KILL_JOB, id="then it is killed"),
        pytest.param(
            run(116, BUSY, done=INTERRUPTED | {Force.KILL_JOB}), None, id="once is enough"
        ),
        pytest.param(run(115, IDLE, done=INTERRUPTED), None, id="without a job nothing to kill"),
        pytest.param(
            run(134, BUSY, done=INTERRUPTED | {Force.KILL_JOB}), None, id="the runner's own 30 s"
        ),
        pytest.param(
            run(135, BUSY, done=INTERRUPTED | {Force.KILL_JOB}), Force.KILL, id="then everything"
        ),
        pytest.param(run(135, IDLE, done=INTERRUPTED), Force.KILL, id="idle or not"),
        pytest.param(run(900, IDLE, done=INTERRUPTED | {Force.KILL}), None, id="killed is killed"),
        pytest.param(
            run(101, BUSY, done=INTERRUPTED, ordered=True),
            None,
            id="an order changes nothing any more",
        ),
    ],
)
def test_an_interrupted_runner_is_pressed_on(seen: Run, force: Force | None) -> None:
    stop = decide_stop(replace(seen, interrupted_at=at(100)))
    assert (stop and stop.force) == force
    assert stop is None or stop.why is Why.IGNORED_INTERRUPT


def test_the_job_is_killed_while_the_runner_can_still_tell_gitlab() -> None:
    """gitlab-runner gives itself 30 s after SIGTERM (common/consts.go)."""
    busy = replace(run(0, BUSY, done=INTERRUPTED), interrupted_at=START)
    acts = [
        second
        for second in range(60)
        if decide_stop(replace(busy, at=START + timedelta(seconds=second)))
    ]
    assert 0 < acts[0] <= 20
