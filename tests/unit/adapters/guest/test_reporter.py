"""A reporter sends each change at once, what failed again, and heartbeats besides."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

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
    """Keeps the reports; raises `failing` while it is set."""

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

    @property
    def steps(self) -> list[tuple[StepName, int | None, str | None]]:
        """What was sent, in order."""
        return [(s.name, s.job_id, s.detail) for report in self.reports for s in report.steps]

    def wait_for(self, more: int) -> None:
        """Return after so many more reports."""
        wanted = len(self.reports) + more
        self.wait_until(lambda: len(self.reports) >= wanted)

    def wait_until(self, holds: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(holds, timeout=5), self.reports


def reporter(post: FakePost, heartbeat_s: float = NEVER_S) -> Reporter:
    return Reporter(post, heartbeat_s=heartbeat_s, clock=lambda: AT)


def test_a_change_is_sent_at_once() -> None:
    post = FakePost()
    with reporter(post) as telling:
        telling.report(TAKEN, status=replace(IDLE, state=MachineState.BUSY, job_id=42))
        post.wait_until(lambda: bool(post.reports))
    (step,) = post.reports[0].steps
    assert (step.name, step.job_id, step.at) == (StepName.JOB_TAKEN, 42, AT)
    assert post.reports[0].state is MachineState.BUSY
    assert (post.reports[0].runner_id, post.reports[0].heartbeat_at) == ("rf-1", AT)


def test_the_first_report_waits_for_the_first_change() -> None:
    post = FakePost()
    with reporter(post):
        assert post.reports == []
    assert len(post.reports) == 1  # the goodbye


def test_a_heartbeat_repeats_the_state_without_the_steps() -> None:
    post = FakePost()
    with reporter(post, heartbeat_s=0.01) as telling:
        telling.report(TAKEN, status=IDLE)
        post.wait_until(lambda: len(post.reports) > 3)
    states = {report.state for report in post.reports[1:]}
    assert states == {MachineState.IDLE}
    assert post.steps == [(StepName.JOB_TAKEN, 42, None)]


@pytest.mark.parametrize("error", [Transient(), Refused()])
def test_failed_steps_are_sent_again_in_order(error: FleetError) -> None:
    post = FakePost()
    post.failing = error
    with reporter(post, heartbeat_s=0.01) as telling:
        telling.report(Undated(name=StepName.CALLED_HOME), status=IDLE)
        post.wait_until(lambda: post.tries > 1)
        telling.report(TAKEN, status=IDLE)
        post.failing = None
        post.wait_until(lambda: bool(post.reports))
    assert [name for name, *_ in post.steps] == [StepName.CALLED_HOME, StepName.JOB_TAKEN]


def test_an_order_is_heard_with_the_next_heartbeat_and_stands() -> None:
    post = FakePost()
    with reporter(post, heartbeat_s=0.01) as telling:
        post.wait_for(2)
        assert not telling.ordered
        post.waiting = Order(reason="surplus", at=AT)
        post.wait_for(2)
        assert telling.ordered
        post.waiting = None
        post.wait_for(2)
        assert telling.ordered


def test_a_step_alone_keeps_the_status() -> None:
    post = FakePost()
    with reporter(post) as telling:
        telling.report(status=IDLE)
        telling.step(StepName.SPOT_NOTICE, detail="terminate")
        assert telling.status == IDLE
    assert post.steps == [(StepName.SPOT_NOTICE, None, "terminate")]
    assert post.reports[-1].state is MachineState.IDLE


class Deaf(FakePost):
    """Takes reports; does not answer when it is asked for an order."""

    def __init__(self) -> None:
        super().__init__()
        self.orders_read = 0

    def order(self) -> Order | None:
        self.orders_read += 1
        raise Transient()


def test_sent_steps_are_not_repeated_when_the_order_fails() -> None:
    post = Deaf()
    with reporter(post, heartbeat_s=0.01) as telling:
        telling.report(TAKEN, status=IDLE)
        post.wait_until(lambda: len(post.reports) > 2)
        assert not telling.ordered
    assert post.steps == [(StepName.JOB_TAKEN, 42, None)]


def test_the_last_report_asks_for_no_order_and_is_sent_once() -> None:
    post = Deaf()
    with reporter(post):
        pass
    assert (post.orders_read, len(post.reports)) == (0, 1)


def test_the_last_report_has_five_tries() -> None:
    post = FakePost()
    post.failing = Refused()
    with reporter(post):
        pass
    assert post.tries == GOODBYE_TRIES == 5


def test_the_first_heartbeat_has_the_given_status() -> None:
    post = FakePost()
    known = replace(IDLE, detail="warm")
    with Reporter(post, heartbeat_s=0.01, clock=lambda: AT, status=known) as telling:
        post.wait_until(lambda: bool(post.reports))
        assert telling.status == known
    first = post.reports[0]
    assert (first.state, first.runner_id, first.detail) == (MachineState.IDLE, "rf-1", "warm")


def test_the_last_step_is_sent_when_the_work_raises() -> None:
    post = FakePost()

    def work() -> None:
        with reporter(post) as telling:
            telling.step(StepName.STOPPED, job_id=7, detail="why")
            raise KeyError("broken off")

    with pytest.raises(KeyError):
        work()
    assert post.steps == [(StepName.STOPPED, 7, "why")]


def test_the_last_report_has_the_whole_status_and_the_last_step() -> None:
    post = FakePost()
    ended: dict[str, Any] = {"job_id": 7, "outcome": Outcome.FAILED, "detail": "exit status 3"}
    with reporter(post) as telling:
        done = replace(IDLE, state=MachineState.DONE, **ended)
        telling.report(Undated(name=StepName.ENDED), status=done)
    assert [name for name, *_ in post.steps] == [StepName.ENDED]
    assert replace(post.reports[-1], steps=()) == Report(
        heartbeat_at=AT, state=MachineState.DONE, runner_id="rf-1", **ended
    )
