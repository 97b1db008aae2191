"""The next look finds a notice and reports it once; errors of the metadata end nothing."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from adapters.guest.reporter import Reporter
from ec2_runner.imds import SpotNotice
from ec2_runner.spot_watch import SpotWatch
from fleet.errors import Transient
from fleet.machine.mailbox import Order, Report
from fleet.steps import StepName

AT = datetime(2026, 8, 20, 9, 15, tzinfo=UTC)
NOTICE = SpotNotice(action="terminate", at=AT)


class FakeMetadata:
    """Counts the looks; the test sets the answers."""

    def __init__(self) -> None:
        self.notice: SpotNotice | None = None
        self.advised: datetime | None = None
        self.in_trouble = False
        self.looks = 0
        self._changed = threading.Condition()

    def spot_notice(self) -> SpotNotice | None:
        with self._changed:
            self.looks += 1
            self._changed.notify_all()
        if self.in_trouble:
            raise Transient
        return self.notice

    def rebalance_at(self) -> datetime | None:
        return self.advised

    def wait_for_looks(self, more: int) -> None:
        wanted = self.looks + more
        with self._changed:
            assert self._changed.wait_for(lambda: self.looks >= wanted, timeout=5)


class Steps:
    """A mailbox that keeps the steps."""

    def __init__(self) -> None:
        self.steps: list[tuple[StepName, str | None]] = []

    def report(self, report: Report) -> None:
        self.steps += [(step.name, step.detail) for step in report.steps]

    def order(self) -> Order | None:
        return None


def watching(metadata: FakeMetadata, during: Callable[[SpotWatch], None]) -> Steps:
    post = Steps()
    with (
        Reporter(post, heartbeat_s=3600, clock=lambda: AT) as reporter,
        SpotWatch(metadata, reporter, every_s=0.005) as watch,
    ):
        during(watch)
    return post


def until_seen(watch: SpotWatch) -> None:
    for _ in range(1000):
        if watch.spot_at():
            return
        threading.Event().wait(0.005)
    pytest.fail("the notice was not seen")


def test_a_notice_is_reported_once_with_its_time() -> None:
    metadata = FakeMetadata()

    def during(watch: SpotWatch) -> None:
        metadata.wait_for_looks(2)
        assert watch.spot_at() is None
        metadata.notice = NOTICE
        until_seen(watch)
        assert watch.spot_at() == AT

    assert watching(metadata, during).steps == [
        (StepName.SPOT_NOTICE, "terminate at 2026-08-20T09:15:00+00:00")
    ]


def test_the_watch_goes_on_after_transient_errors() -> None:
    metadata = FakeMetadata()
    metadata.in_trouble = True

    def during(watch: SpotWatch) -> None:
        metadata.wait_for_looks(3)
        metadata.notice = NOTICE
        metadata.in_trouble = False
        until_seen(watch)

    assert watching(metadata, during).steps


def test_advice_to_leave_is_reported_once_and_stops_nothing() -> None:
    metadata = FakeMetadata()
    metadata.advised = AT

    def during(watch: SpotWatch) -> None:
        metadata.wait_for_looks(2)
        assert watch.spot_at() is None

    assert watching(metadata, during).steps == [(StepName.REBALANCE_NOTICE, AT.isoformat())]
