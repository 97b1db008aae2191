"""Reports this machine into its mailbox: a heartbeat, and every change at once."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from adapters.guest.background import Background
from fleet.errors import Refused, Transient
from fleet.machine.mailbox import MachineState, Order, Report
from fleet.steps import Outcome, Step, StepName, Undated
from fleet.usage import Usage

RETRY_S = 2.0  # after a report that the mailbox did not take
GOODBYE_TRIES = 5


class Post(Protocol):
    """The part of a mailbox that a reporter needs."""

    def report(self, report: Report) -> None:
        """Write one report, adding its steps."""

    def order(self) -> Order | None:
        """The order in the mailbox, or None."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineStatus:
    """What this machine reports of itself besides its steps."""

    state: MachineState = MachineState.BOOTED
    runner_id: str | None = None
    job_id: int | None = None
    outcome: Outcome | None = None
    detail: str | None = None


@dataclass(slots=True)
class _Outbox:
    """The next report; two threads share it."""

    status: MachineStatus = field(default_factory=MachineStatus)
    unsent: list[Step] = field(default_factory=list)


class Reporter(Background):
    """Sends from a thread of its own what any thread reports; sends again what failed."""

    def __init__(
        self,
        post: Post,
        *,
        heartbeat_s: float,
        clock: Callable[[], datetime] = _now,
        status: MachineStatus | None = None,
    ) -> None:
        """The first `report` or the first heartbeat sends the first one."""
        super().__init__(self._send_until_closed)
        self._post = post
        self._heartbeat_s = heartbeat_s
        self._clock = clock
        self._outbox = _Outbox(status=status or MachineStatus())
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._ordered = threading.Event()

    @property
    def ordered(self) -> bool:
        """Whether the fleet has ordered this machine to drain."""
        return self._ordered.is_set()

    @property
    def status(self) -> MachineStatus:
        """The last status."""
        return self._outbox.status

    def report(self, *steps: Undated, status: MachineStatus) -> None:
        """Send the status and new steps at once."""
        at = self._clock()
        with self._lock:
            self._outbox.status = status
            self._outbox.unsent += [step.dated(at) for step in steps]
        self._news.set()

    def step(
        self,
        name: StepName,
        *,
        job_id: int | None = None,
        detail: str | None = None,
        usage: Usage | None = None,
    ) -> None:
        """Send a step and leave the status as it is."""
        step = Undated(name=name, job_id=job_id, detail=detail, usage=usage)
        self.report(step, status=self._outbox.status)

    def end(self) -> None:
        """Send the rest, in a few tries, and stop."""
        super().end()
        self._news.set()

    def _send_until_closed(self) -> None:
        wait_s = self._heartbeat_s
        while not self.is_closing:
            self._news.wait(wait_s)
            self._news.clear()
            if self.is_closing:
                break
            wait_s = self._heartbeat_s if self._send() else min(RETRY_S, self._heartbeat_s)
        for _ in range(GOODBYE_TRIES):
            if self._send():
                return

    def _send(self) -> bool:
        with self._lock:
            status, steps = self._outbox.status, tuple(self._outbox.unsent)
        try:
            self._post.report(_report(status, steps, self._clock()))
            with self._lock:
                del self._outbox.unsent[: len(steps)]
            if not self.is_closing and self._post.order():
                self._ordered.set()
        except (Transient, Refused):
            return False
        return True


def _report(status: MachineStatus, steps: tuple[Step, ...], at: datetime) -> Report:
    return Report(
        heartbeat_at=at,
        state=status.state,
        runner_id=status.runner_id,
        job_id=status.job_id,
        outcome=status.outcome,
        detail=status.detail,
        steps=steps,
    )
