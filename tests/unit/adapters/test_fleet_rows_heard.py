"""A busy project costs one write a minute, whatever its webhooks."""

from datetime import timedelta

import pytest

from adapters.ledger.fleet import FleetRows
from adapters.ledger.table import Change
from fleet.errors import Transient
from tests.fakes import AT, FakeTable

INSTANCE = "gitlab.example.com"


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


@pytest.mark.parametrize(
    ("after_s", "tried"),
    [
        pytest.param([0, 1, 59], 1, id="within a minute"),
        pytest.param([0, 60], 2, id="a minute later"),
        pytest.param([0, 59, 61, 62], 2, id="the minute counts from the last write"),
    ],
)
def test_writes_of_one_process(after_s: list[float], tried: int) -> None:
    table = CountingTable()
    fleet = FleetRows(table)
    for seconds in after_s:
        fleet.heard_from(INSTANCE, 7, "acme/demo", at=AT + timedelta(seconds=seconds))
    assert table.tried == tried


def test_each_project_is_written_for_itself() -> None:
    table = CountingTable()
    fleet = FleetRows(table)
    for project_id in (7, 8, 7, 8):
        fleet.heard_from(INSTANCE, project_id, "acme/demo", at=AT)
    assert {one.project_id for one in fleet.watched(INSTANCE)} == {7, 8}
    assert table.tried == 2


def test_what_could_not_be_written_is_tried_again() -> None:
    table = CountingTable()
    fleet = FleetRows(table)
    table.broken = True
    with pytest.raises(Transient):
        fleet.heard_from(INSTANCE, 7, "acme/demo", at=AT)
    table.broken = False
    fleet.heard_from(INSTANCE, 7, "acme/demo", at=AT)
    (watched,) = fleet.watched(INSTANCE)
    assert watched.last_hook_at == AT
