"""The fleet's calls to GitLab: one allowance for all processes, at few writes."""

from datetime import datetime, timedelta
from random import Random

import pytest

from adapters.ledger.call_allowance import FleetAllowance
from fleet.errors import Transient
from fleet.rules.calls import LEASE_AT_MOST, LEASED_FOR, calls_to_lease
from tests.fakes import Clock, FakeTable

PER_MINUTE = 60


class Fleet:
    """So many processes, each with an allowance over the same table."""

    def __init__(self, processes: int, calls_per_minute: int = PER_MINUTE) -> None:
        self.clock, self.table = Clock(), FakeTable()
        self.processes = [self.process(calls_per_minute) for _ in range(processes)]
        self.granted: list[datetime] = []

    def process(self, calls_per_minute: int = PER_MINUTE) -> FleetAllowance:
        return FleetAllowance(
            self.table,
            instance="gitlab.example.com",
            calls_per_minute=calls_per_minute,
            clock=self.clock,
        )

    def asks(self, process: FleetAllowance) -> float | None:
        """The wait that the error names; None where the call is granted."""
        try:
            process.take()
        except Transient as exc:
            return float(str(exc.facts["retry_after_s"]))
        self.granted.append(self.clock())
        return None


def test_many_processes_make_no_more_calls_than_one_may() -> None:
    chance, fleet = Random(1), Fleet(200)
    began = fleet.clock()
    while fleet.clock() - began < timedelta(minutes=5):
        fleet.asks(chance.choice(fleet.processes))
        fleet.clock.go(chance.choice([0, 0.01, 0.05]))
    minutes = (fleet.clock() - began) / timedelta(minutes=1)
    assert len(fleet.granted) <= PER_MINUTE * (minutes + 1)
    assert len(fleet.granted) >= PER_MINUTE * minutes * 0.9, "and hardly fewer"


def test_a_busy_process_writes_seldom() -> None:
    fleet = Fleet(1, calls_per_minute=2000)
    for _ in range(1000):
        assert fleet.asks(fleet.processes[0]) is None
        fleet.clock.go(0.05)
    assert fleet.table.writes <= 1000 / LEASE_AT_MOST + 10


def test_a_single_call_is_one_write() -> None:
    fleet = Fleet(3)
    for process in fleet.processes:
        fleet.asks(process)
        fleet.clock.go(120)
    assert fleet.table.writes == 3


def test_a_wait_is_long_enough_and_no_longer() -> None:
    fleet = Fleet(1)
    (process,) = fleet.processes
    waits = [fleet.asks(process) for _ in range(PER_MINUTE + 1)]
    assert waits[:-1] == [None] * PER_MINUTE
    assert waits[-1] == pytest.approx(1, abs=0.1)
    fleet.clock.go(waits[-1] or 0)
    assert fleet.asks(process) is None
    assert fleet.asks(process) is not None


def test_a_pause_that_gitlab_asks_for_is_for_every_process() -> None:
    fleet = Fleet(2)
    first, second = fleet.processes
    fleet.asks(first)
    first.hold(30)
    second.hold(5)
    assert [fleet.asks(process) for process in (first, second, fleet.process())] == [30, 30, 30]
    fleet.clock.go(30)
    assert [fleet.asks(process) for process in fleet.processes] == [None, None]


def test_what_is_left_is_what_no_process_took() -> None:
    fleet = Fleet(2)
    first, second = fleet.processes
    assert first.left.percent == 100
    for _ in range(15):
        fleet.asks(first)
    fleet.asks(second)
    assert second.left.percent == pytest.approx(75, abs=5)
    second.note("5", "100")
    assert second.left.percent == 5
    fleet.clock.go(60)
    assert first.left.percent == 100


def test_a_lease_does_not_outlive_a_pause_of_the_process() -> None:
    fleet = Fleet(1)
    (process,) = fleet.processes
    for _ in range(4):
        fleet.asks(process)
    writes = fleet.table.writes
    fleet.clock.go(LEASED_FOR.total_seconds())
    fleet.asks(process)
    assert fleet.table.writes == writes + 1


@pytest.mark.parametrize(
    ("last", "is_used_up", "since_s", "count"),
    [
        pytest.param(0, True, 0, 1, id="the first"),
        pytest.param(1, True, 1, 2, id="used up at once"),
        pytest.param(8, True, 1, 16, id="again and again"),
        pytest.param(16, True, 1, 16, id="not without end"),
        pytest.param(8, True, 60, 1, id="long ago"),
        pytest.param(8, False, 6, 1, id="not used up"),
        pytest.param(8, True, -9, 1, id="a clock that went back"),
    ],
)
def test_what_is_leased_is_what_will_be_used(
    last: int, is_used_up: bool, since_s: float, count: int
) -> None:
    since = timedelta(seconds=since_s)
    assert calls_to_lease(last, is_used_up=is_used_up, since=since) == count
