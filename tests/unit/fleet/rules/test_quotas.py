"""What the account's quotas allow, as tables."""

from functools import cache

import pytest

from fleet.config.model import PoolConfig
from fleet.config.reading import read_config
from fleet.rules.quotas import AccountQuotas, FirstPools, first_pools, shortages, vcpus

LARGE = ("m7i.large", "m7a.large")
FILE = """
[gitlab]
url = "https://gitlab.example.com"
runners_in = "group:42"
[pools.docker]
backend = "ec2"
tags = ["docker"]
instance_types = ["m7i.large", "m7i.2xlarge", "c7a.large"]
ceiling = 10
[pools.steady]
backend = "ec2"
tags = ["steady"]
instance_types = ["m7i.large"]
market = "on-demand"
ceiling = 3
[pools.node]
backend = "lambda"
tags = ["node"]
ceiling = 90
"""


@pytest.mark.parametrize(
    ("instance_type", "count"),
    [
        ("m7i.large", 2),
        ("c7g.medium", 2),
        ("m7i-flex.xlarge", 4),
        ("r8g.12xlarge", 48),
        ("m7i.metal", None),
        ("g5.xlarge", None),
        ("large", None),
    ],
)
def test_vcpus_follow_from_the_size(instance_type: str, count: int | None) -> None:
    assert vcpus(instance_type) == count


@pytest.mark.parametrize(
    ("on_demand", "spot", "at_once", "pools"),
    [
        (None, None, None, FirstPools(ec2=50, lambda_=100, size="4GB")),
        (64, 64, 1000, FirstPools(ec2=32, lambda_=100, size="4GB")),
        (64, 5, 100, FirstPools(ec2=2, lambda_=90, size="4GB")),
        (1, 640, 10, FirstPools(ec2=0, lambda_=5, size="2GB")),
        (5000, 5000, 3, FirstPools(ec2=50, lambda_=0, size="2GB")),
    ],
)
def test_the_first_pools_fit(
    on_demand: int | None, spot: int | None, at_once: int | None, pools: FirstPools
) -> None:
    quotas = AccountQuotas(on_demand_vcpus=on_demand, spot_vcpus=spot, lambda_at_once=at_once)
    assert first_pools(quotas, LARGE) == pools


@cache
def pools_with(ceiling: int) -> tuple[PoolConfig, ...]:
    """Those of the file, with this ceiling of its Lambda pool."""
    return read_config(FILE.replace("ceiling = 90", f"ceiling = {ceiling}")).pools


def test_what_init_proposes_is_no_shortage() -> None:
    for at_once in range(1200):
        quotas = AccountQuotas(lambda_at_once=at_once)
        ceiling = first_pools(quotas, LARGE).lambda_
        assert not ceiling or shortages(pools_with(ceiling), quotas) == (), at_once


@pytest.mark.parametrize(
    ("quotas", "needed"),
    [
        (AccountQuotas(), {}),
        (AccountQuotas(on_demand_vcpus=86, spot_vcpus=80, lambda_at_once=100), {}),
        (
            AccountQuotas(on_demand_vcpus=85, spot_vcpus=79, lambda_at_once=99),
            {"L-1216C47A": 86, "L-34B43A08": 80, "L-B99A9384": 100},
        ),
    ],
)
def test_a_quota_is_too_small_below_what_all_ceilings_need(
    quotas: AccountQuotas, needed: dict[str, int]
) -> None:
    short = shortages(read_config(FILE).pools, quotas)
    assert {shortage.quota.code: shortage.needed for shortage in short} == needed
    for shortage in short:
        request = shortage.request("eu-central-1").split()
        assert request[:2] == ["aws", "service-quotas"]
        assert {
            "eu-central-1",
            shortage.quota.service,
            shortage.quota.code,
            str(shortage.needed),
        } <= set(request)
