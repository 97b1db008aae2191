"""Faults on demand: how often, where, how long, and the same again with the same seed."""

from datetime import timedelta
from typing import Any

import pytest

from local.gitlab.chaos import ApiChaos, Chaos, ChaosOrder, WebhookChaos
from local.gitlab.webhooks.hooks import alert_status
from tests.unit.local.gitlab.desk import Desk
from tests.unit.local.gitlab.small_gitlab import NOON


def chaos(seed: int = 1, *, webhooks: Any = None, api: Any = None) -> Chaos:
    """The faults of one order."""
    made = Chaos(seed)
    order = ChaosOrder(webhooks=WebhookChaos(**(webhooks or {})), api=ApiChaos(**(api or {})))
    made.apply(order, at=NOON)
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
    wild = chaos(webhooks={"delay_s": (0.2, 0.5)})
    delays = {wild.fate_of_delivery().delay_s for _ in range(50)}
    assert len(delays) > 10
    assert all(0.2 <= delay <= 0.5 for delay in delays)


def test_a_probability_holds_over_many_draws() -> None:
    wild = chaos(webhooks={"drop": 0.3}, api={"status": 500, "rate": 0.5})
    assert 500 < sum(wild.fate_of_delivery().copies == 0 for _ in range(2000)) < 700
    hits = sum(wild.fault_of_call("/user", at=NOON) is not None for _ in range(1000))
    assert 400 < hits < 600


def test_the_same_seed_gives_the_same_fates() -> None:
    rules = {"drop": 0.5, "duplicate": 0.5, "reorder": 0.5, "delay_s": (0, 1)}
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
    wild.apply(ChaosOrder(api=ApiChaos(status=500)), at=NOON)
    assert (wild.webhooks.drop, wild.api.status) == (1.0, 500)


def test_all_hooks_can_be_switched_off_and_on(desk: Desk) -> None:
    hook = desk.world.hooks.add(desk.project, "http://x/", at=NOON)
    desk.world.disturb(ChaosOrder(hook_disabled=True))
    assert alert_status(hook, NOON) == "disabled"
    desk.world.disturb(ChaosOrder(seed=1))
    assert alert_status(hook, NOON) == "disabled"
    desk.world.disturb(ChaosOrder(hook_disabled=False))
    assert alert_status(hook, NOON) == "executable"


def test_calls_are_counted_by_template(desk: Desk) -> None:
    job = desk.running()
    desk.world.calls.clear()
    for project in ("1", "acme%2Fdemo"):
        desk.answer("GET", f"/projects/{project}/jobs/{job.id}")
    assert desk.world.calls == {"GET /projects/{project}/jobs/{job}": 2}
