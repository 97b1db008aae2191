"""Which places to ask for machines, and for how long a dry one is left alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fleet.aws_errors import ErrorKind
from fleet.errors import FleetError, NoCapacity, Refused, Transient
from fleet.rules.capacity import (
    BackOff,
    CapacityPool,
    decide_capacity,
    decide_market,
    dry_until,
    note_applied,
    note_failure,
    note_success,
)

NOON = datetime(2026, 8, 20, 12, tzinfo=UTC)
CODES = {
    ErrorKind.CAPACITY: "InsufficientInstanceCapacity",
    ErrorKind.THROTTLE: "RequestLimitExceeded",
    ErrorKind.QUOTA: "VcpuLimitExceeded",
    ErrorKind.CONFIGURATION: "InvalidAMIID.NotFound",
    ErrorKind.UNKNOWN: "WandBroken",
}


def place(text: str) -> CapacityPool:
    kind, subnet, market = text.split("/")
    return CapacityPool(instance_type=kind, subnet=subnet, market=market)


def dry(seconds: float, code: str = "InsufficientInstanceCapacity") -> BackOff:
    """Left alone until so many seconds after noon."""
    return BackOff(until=NOON + timedelta(seconds=seconds), failures=1, code=code)


PLACES = [place(t) for t in ("a/1/on-demand", "a/1/spot", "b/1/spot", "a/2/spot", "b/1/on-demand")]


ASKED: dict[str, Any] = {
    "spot first, else as given": ({}, "a/1/spot b/1/spot a/2/spot a/1/on-demand b/1/on-demand"),
    "skips those left alone": (
        {"a/1/spot": dry(60), "a/1/on-demand": dry(1)}, "b/1/spot a/2/spot b/1/on-demand"
    ),
    "asks again when the time is over": (
        {"a/1/spot": dry(0), "b/1/spot": dry(-5)},
        "a/1/spot b/1/spot a/2/spot a/1/on-demand b/1/on-demand"
    ),
    "no spot: on demand": (
        {"a/1/spot": dry(9), "b/1/spot": dry(9), "a/2/spot": dry(9)}, "a/1/on-demand b/1/on-demand"
    ),
    "nowhere": ({str(item): dry(9) for item in PLACES}, ""),
    "places of an older configuration do not matter": (
        {"elsewhere": dry(9)}, "a/1/spot b/1/spot a/2/spot a/1/on-demand b/1/on-demand"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("back_off", "expected"), ASKED.values(), ids=ASKED)
def test_decide_capacity(back_off: dict[str, BackOff], expected: str) -> None:
    assert " ".join(map(str, decide_capacity(PLACES, back_off, NOON))) == expected


@pytest.mark.parametrize(
    ("kind", "waits_s"),
    [
        (ErrorKind.CAPACITY, [60, 120, 240, 480, 960, 1800, 1800]),
        (ErrorKind.QUOTA, [60, 120, 240, 480, 900, 900]),
        (ErrorKind.THROTTLE, [2, 4, 8, 16, 32, 60, 60]),
        (ErrorKind.CONFIGURATION, [300, 600, 1200, 2400, 3600, 3600]),
        (ErrorKind.UNKNOWN, [60, 120, 240, 480, 960, 1800, 1800]),
    ],
)
def test_failures_in_a_row_are_left_alone_for_longer(kind: ErrorKind, waits_s: list[int]) -> None:
    held, at = None, NOON
    for number, wait_s in enumerate(waits_s, start=1):
        held = note_failure(held, kind, CODES[kind], at)
        assert (held.until - at).total_seconds() == wait_s
        assert (held.failures, held.code) == (number, CODES[kind])
        at = held.until


@pytest.mark.parametrize(
    ("held", "failures"),
    [
        pytest.param(None, 1, id="the first"),
        pytest.param(dry(-1), 2, id="again"),
        pytest.param(dry(60), 2, id="asked before its time, by another function"),
        pytest.param(dry(-1800), 2, id="half an hour later: still in a row"),
        pytest.param(dry(-1801), 1, id="after that the row has ended"),
        pytest.param(dry(-1, "RequestLimitExceeded"), 1, id="another kind starts its own row"),
        pytest.param(dry(-1, "UnfulfillableCapacity"), 2, id="another code of the same kind"),
    ],
)
def test_what_counts_as_in_a_row(held: BackOff | None, failures: int) -> None:
    noted = note_failure(held, ErrorKind.CAPACITY, "InsufficientInstanceCapacity", NOON)
    assert noted.failures == failures


def test_thousands_of_failures_do_not_overflow() -> None:
    held = BackOff(until=NOON, failures=5000, code="InsufficientInstanceCapacity")
    noted = note_failure(held, ErrorKind.CAPACITY, held.code, NOON)
    assert (noted.until, noted.failures) == (NOON + timedelta(minutes=30), 5001)


def test_success_forgets_the_place_only() -> None:
    back_off = {"a/1/spot": dry(9), "a/1/on-demand": dry(9)}
    assert note_success(back_off, place("a/1/spot")) == {"a/1/on-demand": dry(9)}
    assert note_success(back_off, place("z/1/spot")) == back_off


def test_a_new_configuration_drops_the_refusals_it_may_have_cured() -> None:
    back_off = {kind.value: dry(9, code) for kind, code in CODES.items()}
    assert set(back_off) - set(note_applied(back_off)) == {"configuration"}


@pytest.mark.parametrize(
    ("places", "back_off", "after_s"),
    [
        pytest.param(PLACES, {}, None, id="all may be asked"),
        pytest.param(PLACES, {"a/1/spot": dry(60)}, None, id="others may"),
        pytest.param(
            PLACES, {str(place): dry(60 + n) for n, place in enumerate(PLACES)}, 60, id="the first"
        ),
        pytest.param([], {"*": dry(30)}, 30, id="a back end without places"),
        pytest.param([], {"*": dry(0)}, None, id="which may be asked again"),
        pytest.param([], {}, None, id="which never failed"),
    ],
)
def test_when_a_place_may_be_asked_again(
    places: list[CapacityPool], back_off: dict[str, BackOff], after_s: float | None
) -> None:
    expected = NOON + timedelta(seconds=after_s) if after_s is not None else None
    assert dry_until(places, back_off, NOON) == expected


SPOT, ON_DEMAND = PLACES[1:4], [PLACES[0], PLACES[4]]


@pytest.mark.parametrize(
    ("unasked", "missing", "failure", "asked"),
    [
        pytest.param([*SPOT, *ON_DEMAND], 2, None, SPOT, id="spot first"),
        pytest.param(ON_DEMAND, 1, None, ON_DEMAND, id="the rest on demand"),
        pytest.param(ON_DEMAND, 1, Refused(), ON_DEMAND, id="spot is refused"),
        pytest.param(ON_DEMAND, 1, NoCapacity(), ON_DEMAND, id="spot has none"),
        pytest.param(ON_DEMAND, 1, Transient(), [], id="spot may have launched"),
        pytest.param(ON_DEMAND, 0, None, [], id="none is missing"),
        pytest.param([], 1, None, [], id="all are asked"),
    ],
)
def test_one_market_is_asked_at_a_time_until_none_is_missing(
    unasked: list[CapacityPool],
    missing: int,
    failure: FleetError | None,
    asked: list[CapacityPool],
) -> None:
    assert decide_market(unasked, missing=missing, failure=failure) == tuple(asked)
