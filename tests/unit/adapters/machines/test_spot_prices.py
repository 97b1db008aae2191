"""The price of spot machines: asked once in a while, and never a reason to fail."""

from typing import Any

import pytest

from adapters.machines.spot_prices import KEPT, SpotPrices
from fleet.rules.capacity import CapacityPool
from tests.fakes import Clock
from tests.unit.adapters.stubs import scripted

SPOT = CapacityPool(instance_type="m7i.large", subnet="subnet-1", market="spot")


def history(*prices: str) -> dict[str, Any]:
    return {"SpotPriceHistory": [{"SpotPrice": price} for price in prices]}


def test_the_mean_of_the_zones_is_asked_once_in_a_while() -> None:
    clock = Clock()
    with scripted("ec2") as (ec2, answers):
        answers.add_response("describe_spot_price_history", history("0.03", "0.05"))
        answers.add_response("describe_spot_price_history", history("0.08"))
        prices = SpotPrices(ec2, clock)
        assert [prices.usd_per_hour(SPOT) for _ in range(2)] == [0.04, 0.04]
        clock.go(KEPT.total_seconds() + 1)
        assert prices.usd_per_hour(SPOT) == 0.08


@pytest.mark.parametrize(
    "place", [None, CapacityPool(instance_type="a", subnet="b", market="on-demand")]
)
def test_what_is_no_spot_machine_is_not_asked_about(place: CapacityPool | None) -> None:
    with scripted("ec2") as (ec2, _):
        assert SpotPrices(ec2, Clock()).usd_per_hour(place) is None


@pytest.mark.parametrize("answer", [history(), history("dear"), {"SpotPriceHistory": [{}]}, None])
def test_without_an_answer_there_is_no_price(answer: dict[str, Any] | None) -> None:
    with scripted("ec2") as (ec2, answers):
        if answer is None:
            answers.add_client_error("describe_spot_price_history", "UnauthorizedOperation")
        else:
            answers.add_response("describe_spot_price_history", answer)
        assert SpotPrices(ec2, Clock()).usd_per_hour(SPOT) is None
