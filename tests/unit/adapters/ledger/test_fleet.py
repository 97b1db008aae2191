"""What the ledger knows of the fleet itself: configuration, pools, projects, pipelines, hooks."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from adapters.ledger.configuration import StoredConfig
from adapters.ledger.fleet import FleetRows
from adapters.ledger.hooks import HookRow
from adapters.ledger.pipelines import Reading
from adapters.ledger.pools import PoolRow
from adapters.ledger.table import Change
from fleet.errors import Transient
from fleet.hook_scope import HookScope
from fleet.rules.capacity import BackOff
from tests.fakes import AT, FakeTable, later

HERE, ELSEWHERE = "gitlab.example.com", "gitlab.example.org"
CONFIG = StoredConfig(
    text="[gitlab]",
    version="v1",
    applied_at=AT,
    leaving=("old", "older"),
    removed={"old": AT},
    tls_ca="PEM",
)
HOOK = HookRow(
    instance=HERE,
    scope=HookScope.read("project:7"),
    hook_id=5,
    url="https://hooks.example.com/webhook",
    verification="signing-token",
    name="project:7@0",
)
DRY = BackOff(until=AT, failures=2, code="InsufficientInstanceCapacity")
WRONG = BackOff(until=AT, failures=1, code="InvalidParameterValue")


class CountingTable(FakeTable):
    """Counts the writes that are tried; `broken` fails them."""

    def __init__(self) -> None:
        super().__init__()
        self.tried = 0
        self.broken = False

    def write(self, change: Change) -> bool:
        self.tried += 1
        if self.broken:
            raise Transient(call="dynamodb.UpdateItem")
        return super().write(change)


@pytest.fixture
def table() -> CountingTable:
    return CountingTable()


@pytest.fixture
def fleet(table: CountingTable) -> FleetRows:
    return FleetRows(table)


def forgotten_after(table: CountingTable) -> timedelta:
    """How long the only item is kept."""
    (item,) = table.items.values()
    return timedelta(seconds=float(item["ttl"]) - AT.timestamp())


def test_the_last_configuration_counts(fleet: FleetRows) -> None:
    assert fleet.config() is None
    newer = StoredConfig(text="[other]", version="v2", applied_at=later(9))
    for config in (CONFIG, newer):
        fleet.store_config(config)
        assert fleet.config() == config


def test_each_note_of_a_pool_leaves_the_others_as_they_are(
    fleet: FleetRows, table: CountingTable
) -> None:
    assert fleet.pool("docker") == PoolRow(name="docker", back_off={})
    table.write(Change(pk="pool#docker", sk="pool", add={"in_use": 3, "version": 2}))
    fleet.note_back_off("docker", {"m7i.large/a/spot": DRY})
    fleet.note_refused("docker", "no such image", "v1")
    fleet.note_decision("docker", "backlog", wants_room=True)
    fleet.note_verified("docker", later(1))
    assert fleet.pool("docker") == PoolRow(
        name="docker",
        in_use=3,
        version=2,
        back_off={"m7i.large/a/spot": DRY},
        refused="no such image",
        refused_version="v1",
        reason="backlog",
        wants_room=True,
        verified_at=later(1),
    )
    assert fleet.pool("small") == PoolRow(name="small", back_off={})


def test_the_newest_note_of_a_pool_counts(fleet: FleetRows) -> None:
    fleet.note_decision("docker", "backlog", wants_room=True)
    fleet.note_decision("docker", "balanced")
    fleet.note_back_off("docker", {"a": DRY, "b": DRY})
    fleet.note_back_off("docker", {"b": WRONG})
    row = fleet.pool("docker")
    assert (row.reason, row.wants_room, row.back_off) == ("balanced", False, {"b": WRONG})


def test_a_pool_that_is_accepted_again_is_not_refused_any_more(fleet: FleetRows) -> None:
    fleet.note_back_off("docker", {"a": DRY})
    fleet.note_refused("docker", "no such image", "v1")
    fleet.note_accepted("docker")
    assert fleet.pool("docker") == PoolRow(name="docker", back_off={"a": DRY})


@pytest.mark.parametrize(
    ("refused", "back_off", "remaining"),
    [
        (True, {"a": DRY, "b": WRONG}, {"a": DRY}),  # a place that was empty still is
        (True, {}, {}),
        (False, {"b": WRONG}, {}),
    ],
)
def test_a_new_configuration_forgives_what_the_old_one_was_refused_for(
    refused: bool, back_off: dict[str, BackOff], remaining: dict[str, BackOff], fleet: FleetRows
) -> None:
    if refused:
        fleet.note_refused("docker", "no such image", "v1")
    if back_off:
        fleet.note_back_off("docker", back_off)
    fleet.forgive("docker")
    assert fleet.pool("docker") == PoolRow(name="docker", back_off=remaining)


def test_where_there_is_nothing_to_forgive_nothing_is_written(
    fleet: FleetRows, table: CountingTable
) -> None:
    fleet.note_back_off("small", {"a": DRY})
    before = table.tried
    for pool in ("docker", "small"):
        fleet.forgive(pool)
    assert table.tried == before


def test_projects_are_watched_by_gitlab(fleet: FleetRows) -> None:
    fleet.watch(HERE, 7, "acme/demo", at=AT)
    fleet.watch(ELSEWHERE, 7, "other/demo", at=AT)
    (project,) = fleet.watched(HERE)
    assert (project.project_id, project.instance, project.path) == (7, HERE, "acme/demo")
    assert (project.last_hook_at, project.last_polled_at, project.hook_healthy) == (
        None,
        None,
        True,
    )


def test_a_projects_hook_and_reading_are_remembered(fleet: FleetRows) -> None:
    fleet.note_project_delivery(HERE, 7, "acme/demo", at=AT)
    fleet.note_polled(HERE, 7, at=later(1))
    (project,) = fleet.watched(HERE)
    assert (project.last_hook_at, project.last_polled_at, project.path) == (
        AT,
        later(1),
        "acme/demo",
    )


def test_a_projects_path_is_kept_until_there_is_a_new_one(fleet: FleetRows) -> None:
    fleet.watch(HERE, 7, "acme/demo", at=AT)
    fleet.watch(HERE, 7, "", at=AT)
    fleet.note_polled(HERE, 7, at=AT)
    assert [project.path for project in fleet.watched(HERE)] == ["acme/demo"]
    fleet.note_project_delivery(HERE, 7, "acme/renamed", at=AT)
    assert [project.path for project in fleet.watched(HERE)] == ["acme/renamed"]


@pytest.mark.parametrize(("after_s", "seen_s"), [(30, 0), (59, 0), (61, 61)])
def test_processes_write_one_project_once_a_minute_between_them(
    after_s: float, seen_s: float, table: CountingTable
) -> None:
    FleetRows(table).note_project_delivery(HERE, 7, "acme/demo", at=AT)
    another = FleetRows(table)
    another.note_project_delivery(HERE, 7, "acme/demo", at=later(after_s))
    (project,) = another.watched(HERE)
    assert project.last_hook_at == later(seen_s)


@pytest.mark.parametrize(
    ("after_s", "tried"),
    [
        pytest.param([0, 1, 59], 1, id="within a minute"),
        pytest.param([0, 60], 2, id="a minute later"),
        pytest.param([0, 59, 61, 62], 2, id="the minute counts from the last write"),
    ],
)
def test_a_process_writes_each_project_once_a_minute(
    after_s: list[float], tried: int, fleet: FleetRows, table: CountingTable
) -> None:
    for seconds in after_s:
        for project_id in (7, 8):
            fleet.note_project_delivery(HERE, project_id, "acme/demo", at=later(seconds))
    assert {project.project_id for project in fleet.watched(HERE)} == {7, 8}
    assert table.tried == 2 * tried


def test_a_project_that_could_not_be_written_is_tried_again(
    fleet: FleetRows, table: CountingTable
) -> None:
    table.broken = True
    with pytest.raises(Transient):
        fleet.note_project_delivery(HERE, 7, "acme/demo", at=AT)
    table.broken = False
    fleet.note_project_delivery(HERE, 7, "acme/demo", at=AT)
    assert [project.last_hook_at for project in fleet.watched(HERE)] == [AT]


@pytest.mark.parametrize(
    ("scope", "instance", "well"),
    [
        ("project:7", HERE, {7: False, 77: True}),
        ("group:42", HERE, {7: False, 77: False}),
        ("project:7", ELSEWHERE, {7: True, 77: True}),
        ("group:42", ELSEWHERE, {7: True, 77: True}),
    ],
)
def test_a_sick_hook_is_its_projects_trouble(
    scope: str, instance: str, well: dict[int, bool], fleet: FleetRows
) -> None:
    for project_id in (7, 77):
        fleet.watch(HERE, project_id, "acme/demo", at=AT)
    hook = replace(HOOK, scope=HookScope.read(scope), instance=instance)
    fleet.record_hook(hook)
    assert all(project.hook_healthy for project in fleet.watched(HERE))
    fleet.record_hook(replace(hook, healthy=False))
    assert {project.project_id: project.hook_healthy for project in fleet.watched(HERE)} == well


def test_groups_are_listed_again_after_a_while(fleet: FleetRows) -> None:
    every = timedelta(seconds=60)
    assert fleet.listing_due(HERE, at=AT, every=every)
    fleet.note_listed(HERE, at=AT)
    due = [fleet.listing_due(HERE, at=later(s), every=every) for s in (0, 59, 60, 61)]
    assert due == [False, False, True, True]
    assert fleet.listing_due(ELSEWHERE, at=AT, every=every)


def claim(fleet: FleetRows, after_s: float = 0, pipeline_id: int = 5) -> Reading:
    return fleet.claim_pipeline(HERE, pipeline_id, at=later(after_s))


def test_of_all_hooks_of_a_pipeline_the_first_reads_it(
    fleet: FleetRows, table: CountingTable
) -> None:
    assert [claim(fleet) for _ in range(2)] == [Reading.MINE, Reading.UNDER_WAY]
    assert forgotten_after(table) == timedelta(hours=1)
    fleet.note_pipeline(HERE, 5, read=True)
    assert claim(fleet, 1) is Reading.DONE
    assert claim(fleet, pipeline_id=6) is Reading.MINE
    assert fleet.claim_pipeline(ELSEWHERE, 5, at=AT) is Reading.MINE


def test_a_pipeline_that_could_not_be_read_may_be_claimed_again(fleet: FleetRows) -> None:
    claim(fleet)
    fleet.note_pipeline(HERE, 5, read=False)
    assert claim(fleet, 1) is Reading.MINE


@pytest.mark.parametrize("read", [True, False])
def test_after_ten_seconds_a_pipeline_is_read_anew(read: bool, fleet: FleetRows) -> None:
    claim(fleet)
    if read:
        fleet.note_pipeline(HERE, 5, read=True)
    readings = [claim(fleet, after_s) for after_s in (10, 10.5, 11)]
    before = Reading.DONE if read else Reading.UNDER_WAY
    assert readings == [before, Reading.MINE, Reading.UNDER_WAY]


@pytest.mark.parametrize(
    ("done", "waits", "after_s", "owes"),
    [
        (False, False, 0, True),  # its reader may have died with jobs routed
        (False, False, 240, True),
        (False, False, 241, False),  # no execution is that old
        (True, True, 0, True),
        (True, True, 241, False),
        (True, False, 0, False),
    ],
)
def test_a_wake_is_owed_until_its_reader_has_surely_ended(
    done: bool, waits: bool, after_s: float, owes: bool, fleet: FleetRows
) -> None:
    assert not fleet.owes_wake(HERE, 5, at=AT)
    claim(fleet)
    if done:
        fleet.note_pipeline(HERE, 5, read=True, waits=waits)
    assert fleet.owes_wake(HERE, 5, at=later(after_s)) == owes


def test_a_reader_that_is_late_leaves_no_wake_owed_for_what_is_forgotten(fleet: FleetRows) -> None:
    fleet.note_pipeline(HERE, 5, read=True, waits=True)
    assert not fleet.owes_wake(HERE, 5, at=AT)


def test_a_stray_is_known_from_its_first_time_on_for_a_day(
    fleet: FleetRows, table: CountingTable
) -> None:
    assert [fleet.stray_since("i-1", at=later(s)) for s in (0, 60, 120)] == [AT] * 3
    assert forgotten_after(table) == timedelta(days=1)
    assert fleet.stray_since("i-2", at=later(60)) == later(60)


def test_there_is_a_hook_for_each_scope_of_each_gitlab(fleet: FleetRows) -> None:
    sick = replace(HOOK, scope=HookScope.read("group:42"), healthy=False, detail="disabled")
    for hook in (HOOK, sick, replace(HOOK, instance=ELSEWHERE)):
        fleet.record_hook(hook)
    assert set(fleet.hooks(HERE)) == {HOOK, sick}
    assert fleet.hooks(ELSEWHERE) == (replace(HOOK, instance=ELSEWHERE),)
    fleet.record_hook(replace(sick, healthy=True, detail=None, hook_id=6))
    assert set(fleet.hooks(HERE)) == {HOOK, replace(sick, healthy=True, detail=None, hook_id=6)}


def test_which_secret_gitlab_uses_is_noted_for_the_hook_it_is_of(fleet: FleetRows) -> None:
    row = replace(HOOK, secret_ids=("new", "old", "older"))
    fleet.record_hook(row)
    assert row.outdated_below is None
    for hook, used in ((row.name, "old"), (f"{HOOK.scope}@1", "x"), ("project:9@0", "y")):
        fleet.note_delivery(HERE, hook, used, at=AT)
    assert fleet.hooks(HERE) == (replace(row, used_id="old", heard_at=AT),)
    assert fleet.hooks(HERE)[0].outdated_below == "old"
    fleet.record_hook(row)  # a registration does not know it
    assert fleet.hook(HERE, HOOK.scope) == replace(row, used_id="old", heard_at=AT)
    fleet.note_delivery(HERE, row.name, "older", at=AT)
    assert fleet.hooks(HERE)[0].outdated_below is None
    assert fleet.hook(ELSEWHERE, HOOK.scope) is None


def test_deliveries_of_one_secret_are_written_every_ten_seconds(
    fleet: FleetRows, table: CountingTable
) -> None:
    fleet.record_hook(HOOK)
    before = table.tried
    for seconds in range(20):
        fleet.note_delivery(HERE, HOOK.name, "new", at=later(seconds))
    assert table.tried - before == 2
    assert fleet.hooks(HERE) == (replace(HOOK, used_id="new", heard_at=later(10)),)


def test_a_hook_that_was_removed_is_not_watched_and_stays_so(fleet: FleetRows) -> None:
    fleet.record_hook(HOOK)
    for _ in range(2):
        fleet.forget_hook(HERE, HOOK.scope)
    fleet.note_delivery(HERE, HOOK.name, "late", at=AT)
    assert fleet.hooks(HERE) == ()


@pytest.mark.parametrize("before", [None, AT])
def test_a_look_at_what_was_registered_again_meanwhile_tells_nothing(
    before: datetime | None, fleet: FleetRows
) -> None:
    hook = replace(HOOK, registered_at=before, secret_ids=("b", "a"))
    fleet.record_hook(hook)
    fleet.note_hook_health(hook, detail="refused")
    assert fleet.hooks(HERE) == (replace(hook, healthy=False, detail="refused"),)
    anew = replace(hook, registered_at=later(1))
    fleet.record_hook(anew)
    fleet.note_hook_health(hook, detail="refused")
    fleet.note_secrets(hook, ["b"])
    assert fleet.hooks(HERE) == (anew,)
    fleet.note_hook_health(anew, detail=None)
    fleet.note_secrets(anew, ["b"])
    assert fleet.hooks(HERE) == (replace(anew, secret_ids=("b",)),)
