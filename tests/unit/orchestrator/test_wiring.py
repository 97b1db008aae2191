"""What a function is given to work with."""

from typing import Any

import pytest

from adapters.aws.clients import clients
from adapters.aws.settings import OrchestratorSettings
from orchestrator.wiring import Wiring


@pytest.fixture(autouse=True)
def _region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")


def wired(function: str) -> Wiring:
    """The wiring of a function in whose environment each value is its own name."""
    values: dict[str, Any] = {name: name for name in OrchestratorSettings.model_fields}
    return Wiring(
        function,
        OrchestratorSettings(**values | {"cache_ttl": 60, "tenant_isolation": True}),
        clients(),
    )


def patience_s(wiring: Wiring) -> float:
    """How long the back end of EC2 waits for an answer."""
    made: Any = vars(wiring.backends()["ec2"])["_client"]
    return float(made.meta.config.read_timeout)


def test_the_function_that_launches_waits_for_a_large_launch() -> None:
    assert patience_s(wired("scale")) == 60
    assert patience_s(wired("sweep")) == 10


def test_what_a_back_end_learnt_outlives_the_configurations_cache() -> None:
    wiring = wired("scale")
    assert wiring.backends()["ec2"] is wiring.backends()["ec2"]
