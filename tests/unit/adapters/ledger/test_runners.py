"""Runner rows: the pool's counter, the rows and the mail change together, and only once."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.ledger.recent import newest
from adapters.ledger.runners import KEPT, pool_of
from adapters.ledger.table import Change
from fleet.machine.mailbox import Credential, MachineState, Report
from fleet.model import RunnerState
from fleet.reasons import Reason
from tests.fakes import AT, FakeCipher, FakeTable, runner_rows
from tests.unit.adapters.runner_ledger import INSTANCE, LATER, Ledger, named, place
from tests.unit.fleet.facts import credential, key

CREDENTIAL = credential()
BUSY = Report(heartbeat_at=LATER, state=MachineState.BUSY, runner_id="rf-1", job_id=7)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def test_all_are_reserved_that_there_is_room_for(ledger: Ledger) -> None:
    wanted = named(1, for_job=key(7), works_for=3, project_id=3)
    assert ledger.rows.reserve([wanted, named(2)], ceiling=5, version=0) == (wanted, named(2))
    assert ledger.rows.live("docker") == (wanted, named(2))
    assert (ledger.in_use, ledger.version) == (2, 1)


@pytest.mark.parametrize(
    ("before", "ceiling", "wanted", "got"),
    [(3, 5, 2, 2), (3, 5, 3, 0), (0, 2, 2, 2), (0, 1, 2, 0), (0, 0, 2, 0)],
)
def test_a_pool_never_grows_above_the_ceiling(
    before: int, ceiling: int, wanted: int, got: int, ledger: Ledger
) -> None:
    ledger.reserve(*(named(n) for n in range(before)))
    more = (named(n) for n in range(before, before + wanted))
    assert ledger.reserve(*more, ceiling=ceiling, version=1 if before else 0) == got
    assert ledger.in_use == before + got == len(ledger.rows.live("docker"))


def test_no_runner_is_reserved_when_the_pool_changed_meanwhile(ledger: Ledger) -> None:
    assert ledger.reserve(named(1), version=1) == 0, "it is gone"
    assert ledger.table.items == {}
    ledger.reserve(named(1))
    for version in (0, 2):
        assert ledger.reserve(named(2), version=version) == 0
    assert ledger.reserve(named(1), named(2), version=1) == 0, "one is there"
    assert (ledger.in_use, ledger.version) == (1, 1)
    assert ledger.reserve(named(2), version=1) == 1
    assert ledger.version == 2


def test_more_are_reserved_than_a_transaction_takes(ledger: Ledger) -> None:
    many = [named(n) for n in range(250)]
    assert ledger.rows.reserve(many, ceiling=250, version=0) == tuple(many)
    assert (ledger.in_use, ledger.version) == (250, 3)
    assert ledger.reserve(named(999), ceiling=251, version=3) == 1


def test_what_there_is_no_room_for_does_not_undo_the_rest(ledger: Ledger) -> None:
    many = [named(n) for n in range(150)]
    assert ledger.rows.reserve(many, ceiling=149, version=0) == tuple(many[:99])
    assert ledger.in_use == 99


def test_each_pool_counts_for_itself(ledger: Ledger) -> None:
    ledger.reserve(named(1), ceiling=1)
    assert ledger.reserve(named(2, pool="small"), ceiling=1) == 1
    assert [runner.pool for runner in ledger.rows.live("small")] == ["small"]


def test_a_machine_is_seen_on_its_runner_and_by_its_mailbox(ledger: Ledger) -> None:
    ledger.reserve(named(1))
    for _ in range(2):
        assert ledger.rows.note_placed([place(1)]) == {named(1).id}
    (runner,) = ledger.rows.live("docker")
    assert runner.state is RunnerState.IN_FLIGHT
    assert (runner.machine_id, runner.mailbox) == ("i-1", "AROA:i-1")
    assert runner.capacity == "m7i.large/a/spot"
    assert ledger.rows.owner("AROA:i-1") == named(1).id
    assert ledger.rows.owner("AROA:i-2") is None


@pytest.mark.parametrize("count", [3, 99], ids=["a few", "more than a transaction takes"])
def test_a_runner_that_was_closed_meanwhile_gets_no_machine(count: int, ledger: Ledger) -> None:
    many = [named(n) for n in range(count)]
    ledger.rows.reserve(many, ceiling=count, version=0)
    ledger.rows.close(named(1), Reason.BOOT_DEADLINE, at=AT)
    placed = ledger.rows.note_placed([place(n) for n in range(count)])
    assert placed == {runner.id for runner in many} - {named(1).id}
    assert {runner.machine_id for runner in ledger.rows.live("docker")} == {
        f"i-{n}" for n in range(count) if n != 1
    }
    assert ledger.mail(1) == set(), "its mailbox stays empty"


def test_a_credential_is_left_for_the_machine_to_take_once(ledger: Ledger) -> None:
    runner = replace(ledger.lives(1), gitlab_runner_id=31)
    assert ledger.rows.equip(runner, CREDENTIAL)
    item = ledger.table.mail.items.pop(("AROA:i-1", "credential"))  # the machine takes it
    assert Credential.of_item(item, FakeCipher()) == CREDENTIAL
    assert (ledger.find(1).equipped, ledger.find(1).gitlab_runner_id) == (True, 31)
    assert not ledger.rows.equip(runner, CREDENTIAL)
    assert "credential" not in ledger.mail(1)


def test_a_runner_that_is_gone_changes_no_more(ledger: Ledger) -> None:
    runner = ledger.lives(1)
    ledger.rows.close(runner, Reason.EXPIRED, at=AT)
    assert not ledger.rows.equip(runner, CREDENTIAL)
    ledger.rows.drain(runner, Reason.SURPLUS, at=LATER)
    ledger.rows.note_left_bare(runner)
    ledger.rows.record_taken(runner, key(7), 3, at=LATER)
    assert ledger.mail(1) == set()
    assert ledger.rows.find(runner.id) is None
    assert ledger.rows.live("docker") == ()


def test_a_runner_without_a_machine_has_no_mailbox(ledger: Ledger) -> None:
    ledger.reserve(named(1))
    assert not ledger.rows.equip(named(1), CREDENTIAL)
    ledger.rows.drain(named(1), Reason.SURPLUS, at=LATER)
    assert ledger.find(1) == named(1)
    assert ledger.rows.reports([named(1)]) == {}


def test_a_runner_that_could_not_be_equipped_is_marked(ledger: Ledger) -> None:
    runner = ledger.lives(1)
    ledger.rows.note_left_bare(runner)
    assert (ledger.find(1).left_bare, ledger.find(1).equipped) == (True, False)
    assert ledger.rows.equip(runner, CREDENTIAL), "any later tick may do it"
    assert ledger.find(1).gitlab_runner_id is None, "a pool's shared record is not its own"


class Watched(FakeTable):
    """Keeps how many changes each transaction had."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def transact(self, changes: Sequence[Change]) -> bool:
        self.sizes.append(len(changes))
        return super().transact(changes)


def test_many_are_written_in_as_few_transactions_as_dynamodb_allows() -> None:
    table = Watched()
    rows = runner_rows(table, INSTANCE)
    rows.reserve([named(n) for n in range(198)], ceiling=200, version=0)
    rows.note_placed([place(n) for n in range(100)])
    assert table.sizes == [100, 100] * 2


@pytest.mark.parametrize(
    ("runner_id", "pool"),
    [
        ("rf-docker-0123456789ab", "docker"),
        ("rf-docker-large-2-0123456789ab", "docker-large-2"),
        ("rf-rf-a-0123456789ab", "rf-a"),
    ],
)
def test_a_runner_s_id_names_its_pool(runner_id: str, pool: str) -> None:
    assert pool_of(runner_id) == pool


def test_a_runner_is_joined_with_its_last_report(ledger: Ledger) -> None:
    ledger.lives(1)
    ledger.lives(2)
    ledger.writes(1, BUSY)
    busy, booting = ledger.rows.live("docker")
    assert (busy.state, busy.claim, busy.job) == (RunnerState.BUSY, key(7), None)
    assert busy.heartbeat_at == LATER
    assert (booting.state, booting.heartbeat_at) == (RunnerState.IN_FLIGHT, None)
    assert ledger.find(1) == busy
    assert ledger.rows.reports([busy, booting]) == {busy.id: BUSY}
    assert [ledger.rows.report(f"AROA:i-{n}") for n in (1, 2)] == [BUSY, None]


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
def test_a_report_that_cannot_be_read_is_logged_and_hides_no_other_runner(
    nonsense: dict[str, Any], ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.lives(1)
    ledger.lives(2)
    ledger.writes(1, BUSY, **nonsense)
    ledger.writes(2, BUSY)
    states = [runner.state for runner in ledger.rows.live("docker")]
    assert states == [RunnerState.IN_FLIGHT, RunnerState.BUSY]
    line = json.loads(capsys.readouterr().out)
    assert (line["event"], line["level"]) == ("RowsUnreadable", "WARNING")
    assert (line["table"], line["rows"]) == ("mailboxes", 1)
    assert line["example"] == "AROA:i-1 report"
    assert ledger.table.mail.unreadable == {"AROA:i-1 report"}
    assert ledger.rows.report("AROA:i-1") is None
    assert ledger.rows.reports([ledger.find(1)]) == {}


def test_a_runner_is_busy_from_the_moment_when_gitlab_says_which_job_it_took(
    ledger: Ledger,
) -> None:
    ledger.rows.record_taken(ledger.lives(1), key(7), 3, at=LATER)
    runner = ledger.find(1)
    assert (runner.state, runner.job, runner.works_for) == (RunnerState.BUSY, key(7), 3)
    assert runner.changed_at == LATER


def test_an_order_is_left_in_the_mailbox_and_seen_on_the_runner(ledger: Ledger) -> None:
    runner = ledger.lives(1)
    ledger.rows.drain(runner, Reason.SURPLUS, at=LATER)
    assert ledger.find(1).state is RunnerState.DRAINING
    assert ledger.find(1).changed_at == LATER
    order = ledger.table.mail.items["AROA:i-1", "order"]
    assert (order["order"], order["reason"]) == ("drain", "surplus")
    assert order["ttl"] == int(runner.expires_at.timestamp())


def test_an_end_frees_the_place_and_clears_the_mailbox_once(ledger: Ledger) -> None:
    runner = ledger.lives(1)
    ledger.lives(2)
    ledger.rows.equip(runner, CREDENTIAL)
    ledger.rows.drain(runner, Reason.SURPLUS, at=AT)
    ledger.writes(1, BUSY)
    assert ledger.mail(1) == {"credential", "order", "report"}
    closed = [ledger.rows.close(runner, Reason.SURPLUS, at=LATER) for _ in range(3)]
    assert closed == [True, False, False]
    assert not ledger.rows.close(named(3), Reason.EXPIRED, at=AT), "it never was"
    assert ledger.mail(1) == set()
    assert ledger.in_use == 1
    assert [each.id for each in ledger.rows.live("docker")] == [named(2).id]
    assert ledger.rows.find(runner.id) is None
    assert [ledger.rows.owner(f"AROA:i-{n}") for n in (1, 2)] == [None, named(2).id]


def test_what_an_ended_runner_was_is_kept_for_a_month(ledger: Ledger) -> None:
    runner = replace(ledger.lives(1), job=key(7))
    ledger.rows.close(runner, Reason.STALLED, at=LATER)
    item = ledger.table.items[f"runner#{runner.id}", "runner"]
    assert (item["reason"], item["machine_id"], item["job"]) == ("stalled", "i-1", str(key(7)))
    assert item["ended_at"] == item["changed_at"] == LATER.isoformat()
    assert item["ttl"] == int((LATER + timedelta(days=30)).timestamp())
    (shown,) = newest(ledger.table, "runner", 9)
    assert shown["id"] == runner.id
    assert timedelta(days=30) == KEPT


def test_an_end_makes_room_for_another_under_the_same_version(ledger: Ledger) -> None:
    """Only a reservation says that another process launched: an end must not stop the next one."""
    ledger.reserve(named(1), ceiling=1)
    ledger.rows.close(named(1), Reason.LAUNCH_FAILED, at=AT)
    assert ledger.reserve(named(2), ceiling=1, version=1) == 1


def test_a_hidden_row_names_its_runner_and_its_machine_if_it_has_one(ledger: Ledger) -> None:
    ledger.lives(1)
    ledger.reserve(named(2), version=ledger.version)
    for n in (1, 2):
        broken = Change(pk="pool#docker", sk=f"runner#{named(n).id}", put={"state": "odd"})
        ledger.table.write(broken)
    assert ledger.rows.live_and_hidden("docker").hidden == {named(1).id, "i-1", named(2).id}
