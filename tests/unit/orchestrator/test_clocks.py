"""Machines whose clocks are wrong: the living are never silent, the dead always are in the end."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings, strategies as st

from fleet.machine.mailbox import MachineState
from fleet.reasons import Reason
from fleet.steps import Outcome, StepName
from tests.unit.orchestrator.scene import AT, Scene

BEAT_S, MINUTE_S, STALLED_S = 30, 60, 300
DAY = 86_400
# What a machine's clock shows after so many seconds of ours.
DeviceClock = Callable[[float], datetime]


def _off_by(skew_s: float) -> DeviceClock:
    return lambda s: AT + timedelta(seconds=s + skew_s)


def _drifting(rate: float) -> DeviceClock:
    return lambda s: AT + timedelta(seconds=s * rate)


def _frozen(skew_s: float) -> DeviceClock:
    return lambda s: AT + timedelta(seconds=skew_s)


def _jumping(skews_s: list[float]) -> DeviceClock:
    return lambda s: AT + timedelta(seconds=s + skews_s[int(s / 90) % len(skews_s)])


SKEWS = st.floats(-3 * DAY, 3 * DAY) | st.sampled_from([0.0, -360.0, 360.0, -44.0, 44.0])
CLOCKS = st.one_of(
    st.builds(_off_by, SKEWS),
    st.builds(_drifting, st.floats(-2, 4)),
    st.builds(_frozen, SKEWS),
    st.builds(_jumping, st.lists(SKEWS, min_size=2, max_size=5)),
    st.just(lambda s: datetime(1, 1, 1, tzinfo=UTC)),
    st.just(lambda s: datetime(9999, 12, 31, 23, 59, tzinfo=UTC)),
)
FEW = settings(max_examples=40)  # each is minutes of a fleet


class Life:
    """One machine that reports, and a fleet that sweeps each minute, at any time of the beat."""

    def __init__(self, clock: DeviceClock, *, sweeps_at: int = 0) -> None:
        self.scene = Scene()
        self.clock = clock
        self.sweeps_at = sweeps_at
        self.passed_s = 0
        (self.runner,) = self.scene.launched(1)

    def says(self, state: MachineState, *steps: StepName, **facts: object) -> None:
        is_idle = state is MachineState.IDLE or facts.get("outcome") is Outcome.NO_JOB
        job_id = None if is_idle else 1
        dated = self.clock(self.passed_s)
        self.scene.reports(self.runner, state, *steps, job_id=job_id, dated=dated, **facts)

    def goes_on(self, seconds: int, *, says: MachineState | None = None) -> int:
        """So many seconds pass; how many runners the sweeps closed."""
        closed = 0
        for _ in range(seconds):
            self.scene.clock.go(1)
            self.passed_s += 1
            if says and self.passed_s % BEAT_S == 0:
                self.says(says)
            if self.passed_s % MINUTE_S == self.sweeps_at:
                closed += self.scene.sweep().closed
        return closed


@FEW
@given(
    clock=CLOCKS,
    sweeps_at=st.integers(0, 59),
    state=st.sampled_from([MachineState.IDLE, MachineState.BUSY]),
)
def test_whatever_the_clock_shows_only_silence_is_silence(
    clock: DeviceClock, sweeps_at: int, state: MachineState
) -> None:
    life = Life(clock, sweeps_at=sweeps_at)
    life.says(state, StepName.CALLED_HOME)
    assert life.goes_on(1200, says=state) == 0
    # It dies; GitLab shows no job there.
    assert life.goes_on(STALLED_S - BEAT_S) == 0
    assert life.goes_on(BEAT_S + 2 * MINUTE_S) == 1
    assert life.scene.row(1).steps[-1].name == "demand_sent"
    assert life.scene.job(1).attempt == 2


@FEW
@given(clock=CLOCKS)
def test_a_history_is_in_order_whatever_the_clock_shows(clock: DeviceClock) -> None:
    life = Life(clock)
    names = [StepName.CALLED_HOME, StepName.CREDENTIAL_READ, StepName.JOB_TAKEN, StepName.ENDED]
    for step in names:
        life.goes_on(20)
        life.says(MachineState.BUSY, step)
    life.goes_on(20)
    life.says(MachineState.DONE, outcome=Outcome.SUCCEEDED)
    life.scene.gitlab.change(1, status="success")
    assert life.goes_on(180) == 1
    steps = {step.name: step.at for step in life.scene.row(1).steps}
    dated = [steps[name] for name in (StepName.LAUNCHED, *names, StepName.MACHINE_GONE)]
    assert dated == sorted(dated)


@FEW
@given(clock=CLOCKS)
def test_a_goodbye_is_dated_by_when_it_was_heard(clock: DeviceClock) -> None:
    """A clock that is ahead kept a machine that had ended until its expiry, for its goodbye."""
    life = Life(clock)
    life.goes_on(20)
    life.says(MachineState.DONE, StepName.ENDED, outcome=Outcome.NO_JOB)
    assert life.goes_on(120) == 1
    assert life.scene.job(1).attempt == 2


@FEW
@given(clock=CLOCKS)
def test_an_idle_machine_is_spare_after_its_idle_time_and_not_before(clock: DeviceClock) -> None:
    life = Life(clock)
    life.scene.gitlab.change(1, status="canceled")
    life.goes_on(10)
    life.says(MachineState.IDLE, StepName.CALLED_HOME)
    life.scene.settle(1, "canceled")
    assert life.scene.scale().drained == 0
    life.goes_on(240, says=MachineState.IDLE)
    assert life.scene.scale().drained == 1


def test_a_machine_that_calls_home_once_and_falls_silent_uses_up_the_attempts() -> None:
    """72 machines in six hours were launched for one job, and its attempt was still 1."""
    scene = Scene()
    scene.waits(1)
    greeted: set[str] = set()
    for _ in range(6 * 60):
        scene.scale()
        for runner in scene.runners:
            if runner.id not in greeted:
                scene.reports(runner, MachineState.IDLE, StepName.CALLED_HOME)
                greeted.add(runner.id)
        scene.clock.go(MINUTE_S)
        scene.sweep()
    assert len(greeted) == 2  # the pool's attempts
    assert scene.job(1).given_up
    assert "given_up" in scene.steps(1)
    scene.books_balance()


@pytest.mark.parametrize("word", ["running", "success"])
def test_a_silent_machine_costs_nothing_where_its_job_waits_no_more(word: str) -> None:
    """No webhook tells of it, so only GitLab knows."""
    life = Life(_off_by(0))
    life.says(MachineState.IDLE)
    life.scene.gitlab.change(1, status=word, runner_id=999)
    life.goes_on(STALLED_S + 2 * MINUTE_S)
    assert life.scene.job(1).attempt == 1


def test_what_aws_takes_back_before_a_job_costs_no_attempt() -> None:
    """Neither where the event reaches the fleet, nor where only the machine gets the notice."""
    for tells in ("EC2 Spot Instance Interruption Warning", None):
        scene = Scene()
        for _ in range(6):
            (runner,) = scene.launched(1)
            if tells:
                scene.world.runners.drain(runner, Reason.SPOT_NOTICE, at=scene.clock())
            scene.reports(runner, MachineState.IDLE, StepName.SPOT_NOTICE)
            scene.reports(runner, MachineState.DONE, outcome=Outcome.NO_JOB)
            scene.clock.go(MINUTE_S)
            scene.sweep()
        assert (scene.job(1).attempt, scene.job(1).given_up) == (1, False)


def test_a_living_machine_that_the_cloud_leaves_out_is_not_gone_for_its_clock() -> None:
    life = Life(_off_by(-600))
    life.says(MachineState.BUSY, StepName.CALLED_HOME)
    life.scene.backend.shown.clear()
    assert life.goes_on(900, says=MachineState.BUSY) == 0
