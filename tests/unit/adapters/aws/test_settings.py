"""The functions' environment: read once, typed, and wrong at start rather than later."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from adapters.aws.settings import OrchestratorSettings

SPECIAL = {"subnets": "subnet-a,subnet-b", "cache_ttl": "2.5", "tenant_isolation": "true"}
FIELDS = sorted(OrchestratorSettings.model_fields)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for field in FIELDS:
        monkeypatch.setenv(f"FLEET_{field.upper()}", SPECIAL.get(field, f"the {field}"))
    return monkeypatch


def test_each_variable_is_read_as_what_it_is(environment: pytest.MonkeyPatch) -> None:
    assert OrchestratorSettings().model_dump() == {
        **{field: f"the {field}" for field in FIELDS},
        "subnets": ("subnet-a", "subnet-b"),
        "cache_ttl": timedelta(seconds=2.5),
        "tenant_isolation": True,
    }


@pytest.mark.parametrize("field", FIELDS)
def test_a_missing_variable_fails_the_start_by_name(
    environment: pytest.MonkeyPatch, field: str
) -> None:
    environment.delenv(f"FLEET_{field.upper()}")
    with pytest.raises(ValidationError, match=field):
        OrchestratorSettings()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("ledger_table", "", id="empty is missing"),
        pytest.param("subnets", "", id="no subnet"),
        pytest.param("subnets", ",", id="only commas"),
        pytest.param("cache_ttl", "-1", id="a lifetime is not negative"),
        pytest.param("cache_ttl", "soon", id="a lifetime is a number"),
    ],
)
def test_what_cannot_be_right_is_refused(
    environment: pytest.MonkeyPatch, field: str, value: str
) -> None:
    environment.setenv(f"FLEET_{field.upper()}", value)
    with pytest.raises(ValidationError, match=field):
        OrchestratorSettings()
