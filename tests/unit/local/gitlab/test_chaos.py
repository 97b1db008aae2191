"""Faults on demand: how often, where, how long, and the same again with the same seed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from local.gitlab.chaos import Chaos, ChaosOrder
from tests.unit.local.gitlab.small_gitlab import NOON


def chaos(seed: int = 1, **order: Any) -> Chaos:
    """The faults of one order."""
    made = Chaos(seed)
    made.apply(ChaosOrder.model_validate(order), at=NOON)
    return made


@pytest.mark.parametrize(
    ("rules", "copies", "held"),
    [
        ({}, 1, False),
        ({"drop": 1.0}, 0, False),
        ({"duplicate": 1.0}, 2, False),
        ({"reorder": 1.0}, 1, True),
        ({"drop": 1.0, "duplicate": 1.0}, 0, False),
    ],
)
def test_certain_fates(rules: dict[str, Any], copies: int, held: bool) -> None:
    fate = chaos(webhooks=rules).fate_of_delivery()
    assert (fate.copies, fate.is_held_back) == (copies, held)


def test_delays_lie_between_the_given_ends() -> None:
    wild = chaos(webhooks={"delay_s": [0.2, 0.5]})
    delays = {wild.fate_of_delivery().delay_s for _ in range(50)}
    assert len(delays) > 10
    assert all(0.2 <= delay <= 0.5 for delay in delays)


def test_a_probability_holds_over_many_draws() -> None:
    wild = chaos(webhooks={"drop": 0.3}, api={"status": 500, "rate": 0.5})
    assert 500 < sum(wild.fate_of_delivery().copies == 0 for _ in range(2000)) < 700
    hits = sum(wild.fault_of_call("/user", at=NOON) is not None for _ in range(1000))
    assert 400 < hits < 600


def test_the_same_seed_gives_the_same_fates() -> None:
    rules = {"drop": 0.5, "duplicate": 0.5, "reorder": 0.5, "delay_s": [0, 1]}
    first, second = chaos(7, webhooks=rules), chaos(8, webhooks=rules)
    fates = [first.fate_of_delivery() for _ in range(20)]
    assert [second.fate_of_delivery() for _ in range(20)] != fates
    second.apply(ChaosOrder(seed=7), at=NOON)
    assert [second.fate_of_delivery() for _ in range(20)] == fates


@pytest.mark.parametrize(
    ("rules", "path", "after_s", "hit"),
    [
        ({}, "/user", 0, True),
        ({"paths": r"^/projects/\d+/jobs"}, "/projects/1/jobs/2", 0, True),
        ({"paths": r"^/projects/\d+/jobs"}, "/jobs/request", 0, False),
        ({"for_s": 60}, "/user", 59, True),
        ({"for_s": 60}, "/user", 60, False),
        ({"status": None}, "/user", 0, False),
    ],
)
def test_a_fault_is_limited_to_paths_and_a_time(
    rules: dict[str, Any], path: str, after_s: int, hit: bool
) -> None:
    wild = chaos(api={"status": 429, "retry_after_s": 7, **rules})
    fault = wild.fault_of_call(path, at=NOON + timedelta(seconds=after_s))
    assert (fault and (fault.status, fault.retry_after_s)) == ((429, 7) if hit else None)


def test_an_order_keeps_the_part_that_it_does_not_name() -> None:
    wild = chaos(webhooks={"drop": 1.0})
    wild.apply(ChaosOrder.model_validate({"api": {"status": 500}}), at=NOON)
    assert (wild.webhooks.drop, wild.api.status) == (1.0, 500)


@pytest.mark.parametrize(
    "order",
    [
        {"webhook": {}},
        *({"webhooks": rules} for rules in ({"drop": -0.1}, {"drop": 2}, {"duplicate": 2})),
        *({"webhooks": rules} for rules in ({"reorder": 1.1}, {"unknown": 1})),
        *({"api": {"rate": rate}} for rate in (-0.1, 1.1)),
    ],
)
def test_an_unknown_name_or_a_probability_beyond_one_is_refused(order: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ChaosOrder.model_validate(order)
