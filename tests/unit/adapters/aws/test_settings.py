"""The functions' environment: read once, typed, and wrong at start rather than later."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from adapters.aws.settings import OrchestratorSettings

SETTINGS = {
    "FLEET_STACK": "runner-fleet",
    "FLEET_LEDGER_TABLE": "ledger",
    "FLEET_MAILBOX_TABLE": "mailboxes",
    "FLEET_MAILBOX_KEY": "arn:aws:kms:us-east-1:1:key/1",
    "FLEET_GITLAB_SECRET": "runner-fleet/gitlab",
    "FLEET_WEBHOOK_SECRET": "runner-fleet/webhook",
    "FLEET_EC2_QUEUE_URL": "https://sqs.example.com/1/ec2",
    "FLEET_LAMBDA_QUEUE_URL": "https://sqs.example.com/1/lambda",
    "FLEET_EC2_DEAD_LETTER_URL": "https://sqs.example.com/1/ec2-dead",
    "FLEET_LAMBDA_DEAD_LETTER_URL": "https://sqs.example.com/1/lambda-dead",
    "FLEET_POOL_SECRET_PREFIX": "runner-fleet/pool/",
    "FLEET_LAUNCH_TEMPLATE": "lt-1",
    "FLEET_ARM64_IMAGE": "resolve:ssm:/aws/service/arm64",
    "FLEET_SUBNETS": "subnet-a,subnet-b",
    "FLEET_SWEEP_ARN": "arn:aws:lambda:us-east-1:1:function:runner-fleet-sweep",
    "FLEET_EXPIRY_ROLE": "arn:aws:iam::1:role/expiry",
    "FLEET_EXPIRY_DEAD_LETTER_ARN": "arn:aws:sqs:us-east-1:1:expiry",
    "FLEET_SCHEDULE_GROUP": "runner-fleet-expiry",
    "FLEET_CACHE_BUCKET": "cache",
    "FLEET_PROTECTED_LAUNCH_TEMPLATE": "lt-2",
    "FLEET_PROTECTED_MACHINE_ROLE_ID": "AROB",
    "FLEET_CACHE_ROLE": "arn:aws:iam::1:role/cache",
    "FLEET_MACHINE_ROLE_ID": "AROAEXAMPLE",
    "FLEET_RUNNER_FUNCTION_PREFIX": "runner-fleet-runner-",
    "FLEET_TENANT_ISOLATION": "true",
    "FLEET_CACHE_TTL": "2.5",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_each_variable_is_read_as_what_it_is(environment: pytest.MonkeyPatch) -> None:
    settings = OrchestratorSettings()
    assert settings.subnets == ("subnet-a", "subnet-b")
    assert settings.cache_ttl == timedelta(seconds=2.5)
    assert settings.stack == "runner-fleet"
    assert settings.sweep_arn.endswith("runner-fleet-sweep")


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_a_missing_variable_is_told_at_start(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.delenv(name)
    with pytest.raises(ValidationError, match=name.removeprefix("FLEET_").lower()):
        OrchestratorSettings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("FLEET_LEDGER_TABLE", "", id="empty is missing"),
        pytest.param("FLEET_SUBNETS", "", id="no subnet"),
        pytest.param("FLEET_SUBNETS", ",", id="only commas"),
        pytest.param("FLEET_CACHE_TTL", "-1", id="a lifetime is not negative"),
        pytest.param("FLEET_CACHE_TTL", "soon", id="a lifetime is a number"),
    ],
)
def test_what_cannot_be_right_is_refused(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(name, value)
    with pytest.raises(ValidationError, match=name.removeprefix("FLEET_").lower()):
        OrchestratorSettings()


def test_settings_stay_as_they_were_read(environment: pytest.MonkeyPatch) -> None:
    settings = OrchestratorSettings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.ledger_table = "another"  # type: ignore[misc]
