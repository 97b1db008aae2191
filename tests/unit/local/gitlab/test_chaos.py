"""Faults on demand: how often, where, how long, and the same again with the same seed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from local.gitlab.chaos import ApiChaos, Chaos, ChaosOrder, WebhookChaos
from tests.unit.local.gitlab.small_gitlab import NOON


def chaos(seed: int = 1, **webhooks: Any) -> Chaos:
    made = Chaos(seed)
    made.apply(ChaosOrder(webhooks=WebhookChaos.model_validate(webhooks)), at=NOON)
    return made


@pytest.mark.parametrize(
    ("rules", "copies", "held"),
    [
        ({"drop": 1.0}, 0, False),
        ({"duplicate": 1.0}, 2, False),
        ({"reorder": 1.0}, 1, True),
        ({"drop": 1.0, "duplicate": 1.0}, 0, False),
    ],
)
def test_certain_fates(rules: dict[str, Any], copies: int, held: bool) -> None:
    fate = chaos(**rules).fate_of_delivery()
    assert (fate.copies, fate.is_held_back) == (copies, held)


def test_delays_lie_between_the_given_ends() -> None:
    wild = chaos(delay_s=[0.2, 0.5])
    delays = {wild.fate_of_delivery().delay_s for _ in range(50)}
    assert len(delays) > 10
    assert all(0.2 <= delay <= 0.5 for delay in delays)


def test_a_probability_is_about_kept() -> None:
    wild = chaos(drop=0.3)
    dropped = sum(wild.fate_of_delivery().copies == 0 for _ in range(2000))
    assert 500 < dropped < 700


def test_the_same_seed_gives_the_same_fates() -> None:
    rules = {"drop": 0.5, "duplicate": 0.5, "reorder": 0.5, "delay_s": [0, 1]}
    first, second = chaos(7, **rules), chaos(8, **rules)
    fates = [first.fate_of_delivery() for _ in range(20)]
    assert [second.fate_of_delivery() for _ in range(20)] != fates
    second.apply(ChaosOrder(seed=7), at=NOON)
    assert [second.fate_of_delivery() for _ in range(20)] == fates


def api_chaos(**rules: object) -> Chaos:
    made = Chaos(1)
    made.apply(ChaosOrder(api=ApiChaos.model_validate(rules)), at=NOON)
    return made


def test_a_fault_replaces_the_answer() -> None:
    fault = api_chaos(status=429, retry_after_s=7).fault_of_call("/user", at=NOON)
    assert fault is not None
    assert (fault.status, fault.retry_after_s) == (429, 7)


@pytest.mark.parametrize(
    ("path", "hit"),
    [("/projects/1/jobs", True), ("/projects/1/jobs/2", True), ("/jobs/request", False)],
)
def test_a_fault_can_be_limited_to_paths(path: str, hit: bool) -> None:
    wild = api_chaos(status=500, paths=r"^/projects/\d+/jobs")
    assert (wild.fault_of_call(path, at=NOON) is not None) is hit


def test_a_fault_can_be_limited_in_time() -> None:
    wild = api_chaos(status=500, for_s=60)
    assert wild.fault_of_call("/user", at=NOON + timedelta(seconds=59)) is not None
    assert wild.fault_of_call("/user", at=NOON + timedelta(seconds=60)) is None


def test_a_rate_hits_some_calls() -> None:
    wild = api_chaos(status=500, rate=0.5)
    hits = sum(wild.fault_of_call("/user", at=NOON) is not None for _ in range(1000))
    assert 400 < hits < 600


def test_orders_leave_alone_what_they_do_not_name() -> None:
    wild = chaos(drop=1.0)
    wild.apply(ChaosOrder(api=ApiChaos(status=500)), at=NOON)
    assert wild.webhooks.drop == 1.0
    assert wild.api.status == 500


@pytest.mark.parametrize(
    "order", [{"webhooks": {"drop": 2}}, {"webhook": {}}, {"api": {"rate": -1}}]
)
def test_nonsense_is_refused(order: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ChaosOrder.model_validate(order)


@pytest.mark.parametrize(
    "order", [{"reorder": 1.1}, {"drop": -0.1}, {"duplicate": 2}, {"unknown": 1}]
)
def test_a_probability_lies_between_nought_and_one(order: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        WebhookChaos.model_validate(order)


@pytest.mark.parametrize("rate", [-0.1, 1.1])
def test_a_rate_lies_between_nought_and_one(rate: float) -> None:
    with pytest.raises(ValidationError):
        ApiChaos(status=500, rate=rate)
