"""Runners at work and at their end: reports, orders, and a place that is given back once."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.ledger.runners import KEPT
from fleet.machine.mailbox import MachineState, Report
from fleet.model import RunnerState
from fleet.reasons import Reason
from tests.fakes import AT
from tests.unit.adapters.runner_ledger import LATER, Ledger, credential, named
from tests.unit.fleet.facts import key


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


class TestReports:
    """What machines say of themselves; they write it alone."""

    BUSY = Report(heartbeat_at=LATER, state=MachineState.BUSY, runner_id="rf-1", job_id=7)

    def test_a_runner_is_joined_with_its_last_report(self, ledger: Ledger) -> None:
        ledger.lives(1)
        ledger.lives(2)
        ledger.writes(1, self.BUSY)
        busy, booting = ledger.rows.live("docker")
        assert (busy.state, busy.job, busy.heartbeat_at) == (RunnerState.BUSY, key(7), LATER)
        assert (booting.state, booting.heartbeat_at) == (RunnerState.IN_FLIGHT, None)
        assert ledger.find(1) == busy
        assert ledger.rows.reports([busy, booting]) == {busy.id: self.BUSY}
        assert ledger.rows.report("AROA:i-1") == self.BUSY
        assert ledger.rows.report("AROA:i-2") is None

    def test_a_runner_without_a_mailbox_has_none(self, ledger: Ledger) -> None:
        assert ledger.rows.reports([named(1)]) == {}

    @pytest.mark.parametrize(
        "nonsense",
        [
            {"heartbeat_at": "yesterday"},
            {"heartbeat_at": 5},
            {"heartbeat_at": "0001-01-01T00:00:00+14:00"},  # before the first year in UTC
            {"heartbeat_at": None},
            {"state": "asleep"},
            {"state": ["busy"]},
            {"job_id": "seven"},
            {"outcome": "glorious"},
            {"steps": 5},
            {"steps": ["called_home"]},
            {"steps": [{"step": "called_home"}]},
        ],
    )
    def test_one_that_cannot_be_read_is_told_and_hides_no_other_runner(
        self, nonsense: dict[str, Any], ledger: Ledger, capsys: pytest.CaptureFixture[str]
    ) -> None:
        ledger.lives(1)
        ledger.lives(2)
        ledger.writes(1, self.BUSY, **nonsense)
        ledger.writes(2, self.BUSY)
        states = [one.state for one in ledger.rows.live("docker")]
        assert states == [RunnerState.IN_FLIGHT, RunnerState.BUSY]
        line = json.loads(capsys.readouterr().out)
        assert (line["event"], line["level"]) == ("ReportUnreadable", "WARNING")
        assert line["mailbox"] == "machine#AROA:i-1"
        assert ledger.rows.report("AROA:i-1") is None
        assert ledger.rows.reports([ledger.find(1)]) == {}


class TestTook:
    """GitLab says which job a runner took, before its machine does."""

    def test_is_busy_from_then_on(self, ledger: Ledger) -> None:
        one = ledger.lives(1)
        ledger.rows.took(one, key(7), 3, at=LATER)
        found = ledger.find(1)
        assert (found.state, found.job, found.works_for) == (RunnerState.BUSY, key(7), 3)
        assert found.changed_at == LATER

    def test_a_runner_that_is_gone_does_not_come_back(self, ledger: Ledger) -> None:
        ledger.rows.took(named(1), key(7), 3, at=LATER)
        assert ledger.rows.live("docker") == ()


class TestDrain:
    """The order to take no new job."""

    def test_is_left_in_the_mailbox_and_seen_on_the_runner(self, ledger: Ledger) -> None:
        one = ledger.lives(1)
        ledger.rows.drain(one, Reason.SURPLUS, at=LATER)
        assert ledger.find(1).state is RunnerState.DRAINING
        assert ledger.find(1).changed_at == LATER
        order = ledger.table.items["machine#AROA:i-1", "order"]
        assert (order["order"], order["reason"]) == ("drain", "surplus")
        assert order["ttl"] == int(one.expires_at.timestamp())

    def test_of_a_runner_that_is_gone_leaves_no_letter(self, ledger: Ledger) -> None:
        one = ledger.lives(1)
        ledger.rows.close(one, Reason.EXPIRED, at=AT)
        ledger.rows.drain(one, Reason.SURPLUS, at=LATER)
        assert ledger.mail(1) == set()
        assert ledger.rows.live("docker") == ()

    def test_of_a_runner_without_a_machine_is_nothing(self, ledger: Ledger) -> None:
        ledger.reserve(named(1))
        ledger.rows.drain(named(1), Reason.SURPLUS, at=LATER)
        assert ledger.find(1).state is RunnerState.REQUESTED


class TestClose:
    """The end of a runner gives its place back, once."""

    def test_gives_the_place_back_and_clears_the_mailbox(self, ledger: Ledger) -> None:
        one = ledger.lives(1)
        ledger.lives(2)
        ledger.rows.equip(one, credential(one))
        ledger.rows.drain(one, Reason.SURPLUS, at=AT)
        ledger.writes(1, TestReports.BUSY)
        assert ledger.mail(1) == {"credential", "order", "owner", "report"}
        assert ledger.rows.close(one, Reason.SURPLUS, at=LATER)
        assert ledger.mail(1) == set()
        assert ledger.in_use == 1
        assert [each.id for each in ledger.rows.live("docker")] == [named(2).id]
        assert ledger.rows.find(one.id) is None
        assert ledger.mail(2) == {"owner"}

    def test_of_many_that_close_it_one_does(self, ledger: Ledger) -> None:
        one = ledger.lives(1)
        told = [ledger.rows.close(one, Reason.EXPIRED, at=AT) for _ in range(3)]
        assert told == [True, False, False]
        assert ledger.in_use == 0

    def test_a_runner_that_never_was_takes_no_place_away(self, ledger: Ledger) -> None:
        ledger.lives(1)
        assert not ledger.rows.close(named(2), Reason.EXPIRED, at=AT)
        assert ledger.in_use == 1

    def test_what_it_was_is_kept_for_a_month(self, ledger: Ledger) -> None:
        one = replace(ledger.lives(1), job=key(7))
        ledger.rows.close(one, Reason.STALLED, at=LATER)
        kept = ledger.table.items[f"runner#{one.id}", "runner"]
        assert (kept["reason"], kept["machine_id"], kept["job"]) == ("stalled", "i-1", str(key(7)))
        assert kept["ended_at"] == kept["changed_at"] == LATER.isoformat()
        assert kept["ttl"] == int((LATER + timedelta(days=30)).timestamp())
        (shown,) = ledger.table.query_index("recent", "kind", "runner")
        assert shown["id"] == one.id
        assert timedelta(days=30) == KEPT

    def test_makes_room_for_another_under_the_same_version(self, ledger: Ledger) -> None:
        """Only a reservation says that somebody launched: a close must not stop the next one."""
        ledger.reserve(named(1), ceiling=1)
        ledger.rows.close(named(1), Reason.LAUNCH_FAILED, at=AT)
        assert ledger.reserve(named(2), ceiling=1, version=1) == 1
