"""What is told is sent at once, again when it did not get through, and regularly otherwise."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from adapters.guest.reporter import GOODBYE_TRIES, MachineStatus, Reporter
from fleet.errors import FleetError, Refused, Transient
from fleet.machine.mailbox import MachineState, Order, Report
from fleet.steps import Outcome, StepName, Undated

AT = datetime(2026, 8, 20, 9, 15, tzinfo=UTC)
IDLE = MachineStatus(state=MachineState.IDLE, runner_id="rf-1")
TAKEN = Undated(name=StepName.JOB_TAKEN, job_id=42)
NEVER_S = 3600.0


class FakePost:
    """Keeps what is sent; refuses as long as it is told to."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.failing: FleetError | None = None
        self.tries = 0
        self.waiting: Order | None = None
        self._changed = threading.Condition()

    def report(self, report: Report) -> None:
        with self._changed:
            self.tries += 1
            self._changed.notify_all()
            if self.failing:
                raise self.failing
            self.reports.append(report)

    def order(self) -> Order | None:
        return self.waiting

    def wait_until(self, holds: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(holds, timeout=5), self.reports


def reporter(post: FakePost, heartbeat_s: float = NEVER_S) -> Reporter:
    return Reporter(post, heartbeat_s=heartbeat_s, clock=lambda: AT)


def test_a_change_is_sent_at_once() -> None:
    post = FakePost()
    with reporter(post) as telling:
        telling.tell(TAKEN, status=replace(IDLE, state=MachineState.BUSY, job_id=42))
        post.wait_until(lambda: bool(post.reports))
    (step,) = post.reports[0].steps
    assert (step.name, step.job_id, step.at) == (StepName.JOB_TAKEN, 42, AT)
    assert post.reports[0].state is MachineState.BUSY
    assert (post.reports[0].runner_id, post.reports[0].heartbeat_at) == ("rf-1", AT)


def test_nothing_is_sent_before_something_is_told() -> None:
    post = FakePost()
    with reporter(post):
        assert post.reports == []
    assert len(post.reports) == 1  # the goodbye


def test_a_heartbeat_repeats_the_state_without_the_steps() -> None:
    post = FakePost()
    with reporter(post, heartbeat_s=0.01) as telling:
        telling.tell(TAKEN, status=IDLE)
        post.wait_until(lambda: len(post.reports) > 3)
    states = {report.state for report in post.reports[1:]}
    assert states == {MachineState.IDLE}
    assert [step.name for report in post.reports for step in report.steps] == [StepName.JOB_TAKEN]


@pytest.mark.parametrize("error", [Transient(), Refused()])
def test_steps_that_did_not_get_through_are_sent_again_in_order(error: FleetError) -> None:
    post = FakePost()
    post.failing = error
    with reporter(post, heartbeat_s=0.01) as telling:
        telling.tell(Undated(name=StepName.CALLED_HOME), status=IDLE)
        post.wait_until(lambda: post.tries > 1)
        telling.tell(TAKEN, status=IDLE)
        post.failing = None
        post.wait_until(lambda: bool(post.reports))
    sent = [step.name for report in post.reports for step in report.steps]
    assert sent == [StepName.CALLED_HOME, StepName.JOB_TAKEN]


def test_the_last_word_is_sent_before_leaving() -> None:
    post = FakePost()
    done = replace(IDLE, state=MachineState.DONE, outcome=Outcome.SUCCEEDED)
    with reporter(post) as telling:
        telling.tell(Undated(name=StepName.ENDED), status=done)
    assert post.reports[-1].outcome is Outcome.SUCCEEDED
    assert [s.name for r in post.reports for s in r.steps] == [StepName.ENDED]


def test_leaving_does_not_wait_for_ever() -> None:
    post = FakePost()
    post.failing = Transient()
    began = time.monotonic()
    with reporter(post) as telling:
        telling.step(StepName.ENDED)
    assert post.tries <= GOODBYE_TRIES + 1
    assert time.monotonic() - began < 5


def test_an_order_is_heard_with_the_next_heartbeat() -> None:
    post = FakePost()
    with reporter(post, heartbeat_s=0.01) as telling:
        post.wait_until(lambda: len(post.reports) > 1)
        assert not telling.ordered
        post.waiting = Order(reason="surplus", at=AT)
        seen = len(post.reports)
        post.wait_until(lambda: len(post.reports) > seen + 1)
        assert telling.ordered


def test_a_step_alone_keeps_the_status() -> None:
    post = FakePost()
    with reporter(post) as telling:
        telling.tell(status=IDLE)
        telling.step(StepName.SPOT_NOTICE, detail="terminate")
        assert telling.status == IDLE
    sent = [step for report in post.reports for step in report.steps]
    assert [(step.name, step.detail) for step in sent] == [(StepName.SPOT_NOTICE, "terminate")]
    assert post.reports[-1].state is MachineState.IDLE


class Deaf(FakePost):
    """Takes reports; does not answer when it is asked for an order."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def order(self) -> Order | None:
        self.asked += 1
        raise Transient()


def test_steps_that_got_through_are_not_sent_again_for_an_order_that_did_not() -> None:
    post = Deaf()
    with reporter(post, heartbeat_s=0.01) as telling:
        telling.tell(TAKEN, status=IDLE)
        post.wait_until(lambda: len(post.reports) > 2)
        assert not telling.ordered
    assert [step.name for report in post.reports for step in report.steps] == [StepName.JOB_TAKEN]


def test_the_goodbye_asks_for_no_order_and_is_said_once() -> None:
    post = Deaf()
    with reporter(post):
        pass
    assert (post.asked, len(post.reports)) == (0, 1)


def test_a_goodbye_that_does_not_get_through_is_said_five_times() -> None:
    post = FakePost()
    post.failing = Refused()
    with reporter(post):
        pass
    assert post.tries == GOODBYE_TRIES == 5


def test_an_order_that_was_heard_stands() -> None:
    post = FakePost()
    post.waiting = Order(reason="surplus", at=AT)
    with reporter(post, heartbeat_s=0.01) as telling:
        post.wait_until(lambda: len(post.reports) > 1)
        post.waiting = None
        seen = len(post.reports)
        post.wait_until(lambda: len(post.reports) > seen + 1)
        assert telling.ordered


def test_a_machine_that_is_known_already_says_so_from_the_first_heartbeat_on() -> None:
    post = FakePost()
    told = replace(IDLE, detail="warm")
    with Reporter(post, heartbeat_s=0.01, clock=lambda: AT, status=told) as telling:
        post.wait_until(lambda: bool(post.reports))
        assert telling.status == told
    first = post.reports[0]
    assert (first.state, first.runner_id, first.detail) == (MachineState.IDLE, "rf-1", "warm")


def test_the_last_word_is_sent_when_the_work_breaks_off() -> None:
    post = FakePost()

    def work() -> None:
        with reporter(post) as telling:
            telling.step(StepName.STOPPED, job_id=7, detail="why")
            raise KeyError("broken off")

    with pytest.raises(KeyError):
        work()
    (step,) = [step for report in post.reports for step in report.steps]
    assert (step.name, step.job_id, step.detail) == (StepName.STOPPED, 7, "why")


def test_a_report_says_all_that_was_told() -> None:
    post = FakePost()
    told = MachineStatus(
        state=MachineState.DONE,
        runner_id="rf-1",
        job_id=7,
        outcome=Outcome.FAILED,
        detail="exit status 3",
    )
    with reporter(post) as telling:
        telling.tell(status=told)
    assert post.reports[-1] == Report(
        heartbeat_at=AT,
        state=MachineState.DONE,
        runner_id="rf-1",
        job_id=7,
        outcome=Outcome.FAILED,
        detail="exit status 3",
    )
