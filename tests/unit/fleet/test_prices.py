"""Prices: known list prices, published sums of five-minute jobs, and what has no price."""

from datetime import timedelta
from decimal import Decimal

import pytest

from fleet.prices import (
    UNITS,
    Ec2Use,
    LambdaUse,
    control_plane_cost,
    control_plane_usd_per_1000,
    instance_price,
    job_cost,
)

FIVE_MINUTES = timedelta(minutes=5)
WITH_BOOT = timedelta(seconds=390)  # a five-minute job, boot and teardown


def usd_per_1000(use: Ec2Use | LambdaUse) -> float:
    cost = job_cost(use)
    assert cost is not None
    return round(float(cost * 1000), 1)


def ec2(kind: str, market: str, *, bare: bool = False, ran: timedelta = WITH_BOOT) -> Ec2Use:
    if bare:
        return Ec2Use(
            instance_type=kind, market=market, ran=ran, disk_gb=0, has_public_address=False
        )
    return Ec2Use(instance_type=kind, market=market, ran=ran, disk_gb=30)


@pytest.mark.parametrize(
    ("instance_type", "usd"),
    [
        ("m7i.large", "0.1008"),
        ("m7g.large", "0.0816"),
        ("m7g.medium", "0.0408"),
        ("t3.nano", "0.0052"),
        ("t3.micro", "0.0104"),
        ("t3.small", "0.0208"),
        ("c6i.xlarge", "0.17"),
        ("m6a.4xlarge", "0.6912"),
        ("m6i.24xlarge", "4.608"),
        ("m7g.16xlarge", "2.6112"),
    ],
)
def test_list_prices(instance_type: str, usd: str) -> None:
    assert instance_price(instance_type, "on-demand") == Decimal(usd)


def test_spot_is_a_share_of_on_demand() -> None:
    spot = instance_price("m7i.large", "spot")
    assert spot is not None
    assert round(spot, 3) == Decimal("0.035")


@pytest.mark.parametrize("kind", ["p5.48xlarge", "m7i.metal-24xl", "m7i", "", "m7i.0xlarge"])
def test_what_is_not_in_the_table_has_no_price(kind: str) -> None:
    assert instance_price(kind, "on-demand") is None
    assert job_cost(ec2(kind, "spot")) is None


@pytest.mark.parametrize(
    ("use", "usd"),
    [
        pytest.param(ec2("m7i.large", "spot", bare=True), 3.8, id="spot"),
        pytest.param(ec2("m7i.large", "spot"), 4.7, id="spot, disk and address"),
        pytest.param(ec2("m6i.large", "on-demand", bare=True), 10.4, id="on demand"),
        pytest.param(LambdaUse(memory_gb=4, ran=FIVE_MINUTES), 20.0, id="Lambda 4 GB"),
        pytest.param(
            LambdaUse(memory_gb=4, ran=FIVE_MINUTES, architecture="arm64"), 16.0, id="Lambda arm"
        ),
        pytest.param(LambdaUse(memory_gb=10, ran=FIVE_MINUTES), 50.0, id="Lambda 10 GB"),
    ],
)
def test_a_thousand_five_minute_jobs(use: Ec2Use | LambdaUse, usd: float) -> None:
    assert usd_per_1000(use) == usd


def test_ec2_bills_a_minute_at_least() -> None:
    short, minute = timedelta(seconds=5), timedelta(minutes=1)
    assert job_cost(ec2("t3.large", "spot", ran=short)) == job_cost(
        ec2("t3.large", "spot", ran=minute)
    )


def test_control_plane() -> None:
    """Sixteen standard transitions are 0.40 USD for a thousand jobs, nearly all of the bill."""
    assert control_plane_cost({}) == 0
    assert control_plane_cost({"standard_transitions": 16_000}) == Decimal("0.4")
    calls = {"standard_transitions": 160, "http_api_requests": 40, "lambda_requests": 100}
    assert control_plane_usd_per_1000(calls, jobs=10) == Decimal("0.406")
    assert control_plane_usd_per_1000(calls, jobs=0) == control_plane_cost(calls) * 1000


@pytest.mark.parametrize("unit", UNITS)
def test_every_unit_costs_something_but_little(unit: str) -> None:
    assert 0 < control_plane_cost({unit: 1}) < Decimal("0.0001")


def test_a_unit_without_a_price_is_refused() -> None:
    with pytest.raises(ValueError, match="no price for pigeons; there is one for http_api_req"):
        control_plane_cost({"pigeons": 1, "sqs_requests": 1})
