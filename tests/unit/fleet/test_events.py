import contextvars
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import pytest

from fleet import events
from fleet.events import ERROR, WARNING, DeliveryIgnored, begin_request, emit


class Colour(StrEnum):
    """Stands for any reason."""

    RED = "red"


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    """Has a field of each kind."""

    reason: Colour = Colour.RED
    at: datetime = datetime(2026, 8, 20, 9, 15, tzinfo=UTC)
    lasted: timedelta = timedelta(minutes=1, milliseconds=500)
    pools: frozenset[str] = frozenset({"b", "a"})
    nothing: None = None
    where: object = json


@pytest.fixture(autouse=True)
def _no_request() -> None:
    begin_request(None)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """What was logged since the last look."""
    captured = capsys.readouterr()
    assert captured.err == ""
    return [json.loads(line) for line in captured.out.splitlines()]


def test_one_line_per_event_with_its_name_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    emit(DeliveryIgnored(reason="other_event", about="Push Hook\nforged line"))
    (line,) = lines(capsys)
    assert datetime.fromisoformat(line.pop("timestamp")).tzinfo is not None
    assert line == {
        "event": "DeliveryIgnored",
        "level": "INFO",
        "reason": "other_event",
        "about": "Push Hook\nforged line",
    }


def test_levels(capsys: pytest.CaptureFixture[str]) -> None:
    for level in (WARNING, ERROR):
        emit(DeliveryIgnored(reason="r", about="a"), level=level)
    assert [line["level"] for line in lines(capsys)] == ["WARNING", "ERROR"]


def test_values_are_written_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    emit(Everything())
    (line,) = lines(capsys)
    assert line.pop("where").startswith("<module")
    del line["timestamp"], line["event"], line["level"]
    assert line == {
        "reason": "red",
        "at": "2026-08-20T09:15:00+00:00",
        "lasted": 60.5,
        "pools": ["a", "b"],
        "nothing": None,
    }


def test_lines_carry_the_request_id_of_their_invocation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def invocation(request_id: str | None) -> None:
        begin_request(request_id)
        emit(DeliveryIgnored(reason="r", about="a"))

    for request_id in ("one", "two", None):
        contextvars.copy_context().run(invocation, request_id)
    assert [line.get("request_id") for line in lines(capsys)] == ["one", "two", None]


DECLARED = [
    each
    for each in vars(events).values()
    if isinstance(each, type) and hasattr(each, "__dataclass_fields__")
]


@pytest.mark.parametrize("declared", DECLARED, ids=lambda each: each.__name__)
def test_a_declared_event_says_what_it_means_and_hides_nothing_of_its_line(
    declared: type,
) -> None:
    own = {"event", "level", "timestamp", "request_id"}
    assert (declared.__doc__ or "").strip().splitlines()[0].endswith(".")
    assert "__slots__" in vars(declared)
    assert own & set(declared.__dataclass_fields__) == set()  # type: ignore[attr-defined]
