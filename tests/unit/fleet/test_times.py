from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from types import ModuleType

import pytest

from adapters.ledger import configuration, hooks, jobs, pools, projects
from fleet import job_event, model
from fleet.errors import Refused
from fleet.job_event import JobEvent
from fleet.machine import mailbox
from fleet.machine.mailbox import Order
from fleet.rules import capacity
from fleet.times import HasUtcTimes, in_utc
from tests.unit.fleet.test_job_event import EVENT

AT = datetime(2026, 3, 29, 0, 30, 0, 250_000, tzinfo=UTC)
BERLIN = timezone(timedelta(hours=2))
KATHMANDU = timezone(timedelta(hours=5, minutes=45))
STORED = (job_event, model, mailbox, capacity, jobs, configuration, hooks, pools, projects)


@pytest.mark.parametrize("field", ["received_at", "created_at", "started_at", "finished_at"])
@pytest.mark.parametrize("zone", [UTC, BERLIN, KATHMANDU])
def test_an_event_is_in_utc_whatever_it_is_made_of(field: str, zone: tzinfo) -> None:
    event = replace(EVENT, **{field: AT.astimezone(zone)})  # type: ignore[arg-type]
    value = getattr(event, field)
    assert (value, value.tzinfo) == (AT, UTC)
    assert event.to_detail()[field] == "2026-03-29T00:30:00.250000Z"
    assert JobEvent.from_detail(event.to_detail()) == event


@pytest.mark.parametrize(
    ("at", "says"),
    [
        (datetime(2026, 3, 29), "without a zone"),  # noqa: DTZ001
        (datetime.min.replace(tzinfo=BERLIN), "out of range"),
    ],
)
def test_what_is_no_moment_is_refused_by_its_field(at: datetime, says: str) -> None:
    with pytest.raises(Refused, match=says) as caught:
        replace(EVENT, started_at=at)
    assert caught.value.facts == {"field": "JobEvent.started_at"}
    with pytest.raises(ValueError, match=says):
        in_utc(at)


@pytest.mark.parametrize("module", STORED)
def test_everything_that_is_stored_or_sent_keeps_utc(module: ModuleType) -> None:
    """The ledger orders times as text, so one zone is for all."""
    classes = [
        value for value in vars(module).values() if is_dataclass(value) and isinstance(value, type)
    ]
    timed = [
        kind
        for kind in classes
        if any("datetime" in str(each.type).lower() for each in fields(kind))
    ]
    assert timed
    assert [kind.__name__ for kind in timed if not issubclass(kind, HasUtcTimes)] == []


def test_a_report_without_a_zone_is_not_read() -> None:
    with pytest.raises(ValueError, match="without a zone"):
        Order.of_item({"order": "drain", "reason": "surplus", "at": "2026-03-29T00:30:00"})
