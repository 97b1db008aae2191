"""What a function is given to work with."""

from typing import Any

import pytest

from adapters.aws.clients import clients
from adapters.aws.settings import ScaleSettings, SweepSettings
from orchestrator.wiring import Wiring

COMMON = """
    stack ledger_table gitlab_secret ec2_queue_url lambda_queue_url ec2_dead_letter_url
    lambda_dead_letter_url
"""
OF_SCALE = """
    pool_secret_prefix launch_template subnets sweep_arn expiry_role expiry_dead_letter_arn
    schedule_group cache_bucket machine_role_id runner_function_prefix
"""


@pytest.fixture(autouse=True)
def _region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")


def wired(settings: type[Any], names: str) -> Wiring:
    """The wiring of a function in whose environment each value is its own name."""
    return Wiring(settings(**{name: name for name in names.split()}), clients())


def patience_s(wiring: Wiring) -> float:
    """How long the back end of EC2 waits for an answer."""
    made: Any = vars(wiring.backends()["ec2"])["_client"]
    return float(made.meta.config.read_timeout)


def test_the_function_that_launches_waits_for_a_large_launch() -> None:
    assert patience_s(wired(ScaleSettings, COMMON + OF_SCALE)) == 60
    assert patience_s(wired(SweepSettings, COMMON + " machine_role_id")) == 10


def test_what_a_back_end_learnt_outlives_the_configurations_cache() -> None:
    wiring = wired(ScaleSettings, COMMON + OF_SCALE)
    assert wiring.backends()["ec2"] is wiring.backends()["ec2"]
