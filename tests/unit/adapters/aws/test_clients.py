from typing import Any

import pytest
from botocore import exceptions
from botocore.exceptions import (
    ClientError,
    ConnectionError,
    EndpointConnectionError,
    HTTPClientError,
    MetadataRetrievalError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    ReadTimeoutError,
)
from botocore.retries.standard import ThrottledRetryableChecker, TransientRetryableChecker

from adapters.aws.clients import aws_call, clients, kind_of, quick, slow
from fleet.errors import FleetError, NoCapacity, Refused, Transient

# botocore has no public list of these.
TRIED_AGAIN = {
    *ThrottledRetryableChecker._THROTTLED_ERROR_CODES,  # type: ignore[attr-defined]
    *TransientRetryableChecker._TRANSIENT_ERROR_CODES,  # type: ignore[attr-defined]
}
NOT_ARRIVED = (HTTPClientError, ConnectionError, MetadataRetrievalError)


def client_error(code: str, status: int = 400) -> ClientError:
    """What botocore raises for an error answer."""
    answer: Any = {
        "Error": {"Code": code, "Message": "secret words of AWS"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(answer, "CreateFleet")


def test_whatever_botocore_tries_again_or_what_did_not_arrive_is_transient() -> None:
    not_arrived = {
        kind.__name__
        for kind in vars(exceptions).values()
        if isinstance(kind, type) and issubclass(kind, NOT_ARRIVED)
    }
    codes = TRIED_AGAIN | not_arrived
    assert {code for code in codes if kind_of(code) is not Transient} == set()


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("InternalFailure", 200, Transient),
        ("ServiceUnavailable", 503, Transient),
        ("TransactionConflictException", 400, Transient),
        ("NeverHeardOf", 500, Transient),
        ("NeverHeardOf", 503, Transient),
        ("NeverHeardOf", 400, Refused),
        ("NeverHeardOf", None, Refused),
        ("InsufficientInstanceCapacity", 500, NoCapacity),
        ("UnfulfillableCapacity", None, NoCapacity),
        ("MaxSpotInstanceCountExceeded", 400, Refused),
        ("VcpuLimitExceeded", 400, Refused),
        ("Unsupported", 400, Refused),
        ("ExpiredToken", 400, Transient),
        ("AccessDenied", 403, Refused),
        ("AccessDeniedException", 400, Refused),
        ("UnauthorizedOperation", 403, Refused),
        ("ValidationException", 400, Refused),
        ("ConditionalCheckFailedException", 400, Refused),
    ],
)
def test_a_code_says_what_the_caller_can_do(
    code: str, status: int | None, kind: type[FleetError]
) -> None:
    assert kind_of(code, status) is kind


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (client_error("RequestLimitExceeded"), Transient, "RequestLimitExceeded"),
        (client_error("Whatever", 502), Transient, "Whatever"),
        (client_error("InsufficientInstanceCapacity"), NoCapacity, "InsufficientInstanceCapacity"),
        (client_error("UnauthorizedOperation", 403), Refused, "UnauthorizedOperation"),
        (EndpointConnectionError(endpoint_url="https://x"), Transient, "EndpointConnectionError"),
        (ReadTimeoutError(endpoint_url="https://x"), Transient, "ReadTimeoutError"),
        (MetadataRetrievalError(error_msg="x"), Transient, "MetadataRetrievalError"),
        (NoCredentialsError(), Refused, "NoCredentialsError"),
        (ParamValidationError(report="x"), Refused, "ParamValidationError"),
        (NoRegionError(), Refused, "NoRegionError"),
    ],
)
def test_an_error_of_botocore_becomes_ours(
    error: Exception, kind: type[FleetError], code: str
) -> None:
    with pytest.raises(FleetError) as caught, aws_call("ec2.CreateFleet"):
        raise error
    assert type(caught.value) is kind
    assert caught.value.facts == {"call": "ec2.CreateFleet", "code": code}
    assert caught.value.__cause__ is error
    assert "secret words" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(client_error("Awaited"), id="an answer that the caller waits for"),
        pytest.param(KeyError("ours"), id="none of its business"),
    ],
)
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error)), aws_call("x", passing=("Awaited",)):
        raise error


def test_a_slow_call_is_waited_for_as_long_as_a_large_launch_takes() -> None:
    config: Any = slow()
    assert config.read_timeout == 60
    assert config.retries["total_max_attempts"] == 2


def test_a_quick_call_ends_before_gitlab_hangs_up() -> None:
    config: Any = quick()
    attempts = config.retries["total_max_attempts"]
    pauses_s = sum(2.0**n for n in range(attempts - 1))  # botocore's longest: 1 s, 2 s
    longest_s = attempts * (config.connect_timeout + config.read_timeout) + pauses_s
    assert (config.retries["mode"], attempts) == ("standard", 3)
    assert longest_s < 10


def test_clients_are_made_once_and_when_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    made: Any = clients(quick())
    assert "events" not in vars(made)
    assert made.events is made.events
    assert made.events.meta.config.read_timeout == 1.0


@pytest.mark.parametrize(
    ("name", "service"),
    [("sqs", "sqs"), ("functions", "lambda"), ("secrets", "secretsmanager"), ("sts", "sts")],
)
def test_a_client_by_name(name: str, service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    made = getattr(clients(), name)
    assert made.meta.service_model.service_name == service
    assert made.meta.config.retries == {"mode": "standard", "total_max_attempts": 5}
