from typing import Any

import pytest
from botocore import exceptions
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectionError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    MetadataRetrievalError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    ReadTimeoutError,
)
from botocore.retries.standard import (
    ThrottledRetryableChecker,
    TransientRetryableChecker,
)

from adapters.aws.clients import aws_call, clients, kind_of, quick, slow
from fleet.errors import FleetError, NoCapacity, Refused, Transient


def client_error(code: str, status: int = 400) -> ClientError:
    """What botocore raises for an error answer."""
    return ClientError(
        {
            "Error": {"Code": code, "Message": "secret words of AWS"},
            "ResponseMetadata": {"HTTPStatusCode": status},  # type: ignore[typeddict-item]
        },
        "CreateFleet",
    )


def raised(error: Exception) -> FleetError:
    """What becomes of it."""
    with pytest.raises(FleetError) as caught, aws_call("ec2.CreateFleet"):
        raise error
    return caught.value


class TestKinds:
    """The table of codes."""

    @pytest.mark.parametrize(
        "code",
        sorted(
            {
                *ThrottledRetryableChecker._THROTTLED_ERROR_CODES,  # type: ignore[attr-defined]
                *TransientRetryableChecker._TRANSIENT_ERROR_CODES,  # type: ignore[attr-defined]
            }
        ),
    )
    def test_has_every_code_that_botocore_itself_tries_again(self, code: str) -> None:
        assert kind_of(code) is Transient

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
    def test_says_what_the_caller_can_do(
        self, code: str, status: int | None, kind: type[FleetError]
    ) -> None:
        assert kind_of(code, status) is kind


class TestAwsCall:
    """Foreign errors become ours."""

    @pytest.mark.parametrize(
        ("error", "kind", "code"),
        [
            (client_error("RequestLimitExceeded"), Transient, "RequestLimitExceeded"),
            (client_error("Whatever", 502), Transient, "Whatever"),
            (client_error("InsufficientInstanceCapacity"), NoCapacity, None),
            (client_error("UnauthorizedOperation", 403), Refused, "UnauthorizedOperation"),
            (EndpointConnectionError(endpoint_url="https://x"), Transient, None),
            (ConnectTimeoutError(endpoint_url="https://x"), Transient, "ConnectTimeoutError"),
            (ReadTimeoutError(endpoint_url="https://x"), Transient, "ReadTimeoutError"),
            (MetadataRetrievalError(error_msg="x"), Transient, "MetadataRetrievalError"),
            (NoCredentialsError(), Refused, "NoCredentialsError"),
            (ParamValidationError(report="x"), Refused, "ParamValidationError"),
            (ConnectionClosedError(endpoint_url="https://x"), Transient, "ConnectionClosedError"),
            (NoRegionError(), Refused, "NoRegionError"),
        ],
    )
    def test_translates(self, error: Exception, kind: type[FleetError], code: str | None) -> None:
        ours = raised(error)
        assert type(ours) is kind
        assert ours.facts["call"] == "ec2.CreateFleet"
        assert code in (None, ours.facts["code"])
        assert ours.__cause__ is error

    @pytest.mark.parametrize(
        "error",
        [
            one
            for one in vars(exceptions).values()
            if isinstance(one, type)
            and issubclass(one, (HTTPClientError, ConnectionError, MetadataRetrievalError))
        ],
    )
    def test_a_call_that_did_not_get_there_may_be_repeated(self, error: type[Exception]) -> None:
        assert kind_of(error.__name__) is Transient

    def test_does_not_repeat_the_words_of_aws(self) -> None:
        assert "secret words" not in str(raised(client_error("AccessDenied")))

    def test_an_answer_that_the_caller_waits_for_passes(self) -> None:
        error = client_error("ConditionalCheckFailedException")
        with (
            pytest.raises(ClientError),
            aws_call("x", passing=("ConditionalCheckFailedException",)),
        ):
            raise error

    def test_other_errors_are_none_of_its_business(self) -> None:
        with pytest.raises(KeyError), aws_call("x"):
            raise KeyError("ours")


def test_a_slow_call_is_waited_for_as_long_as_a_large_launch_takes() -> None:
    config: Any = slow()
    assert config.read_timeout == 60
    assert config.retries["total_max_attempts"] == 2


def test_a_quick_call_ends_before_gitlab_hangs_up() -> None:
    config: Any = quick()
    retries = config.retries
    attempts = retries["total_max_attempts"]
    pauses_s = sum(2.0**n for n in range(attempts - 1))  # botocore's longest: 1 s, 2 s
    longest_s = attempts * (config.connect_timeout + config.read_timeout) + pauses_s
    assert retries["mode"] == "standard"
    assert attempts == 3
    assert longest_s < 10


class TestClients:
    """One of each."""

    def test_are_made_once_and_when_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        made: Any = clients(quick())
        assert "events" not in vars(made)
        assert made.events is made.events
        assert made.events.meta.config.read_timeout == 1.0

    @pytest.mark.parametrize(
        ("name", "service"),
        [
            ("cloudformation", "cloudformation"),
            ("dynamodb", "dynamodb"),
            ("ec2", "ec2"),
            ("events", "events"),
            ("functions", "lambda"),
            ("s3", "s3"),
            ("scheduler", "scheduler"),
            ("secrets", "secretsmanager"),
            ("sqs", "sqs"),
            ("sts", "sts"),
        ],
    )
    def test_by_name(self, name: str, service: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        made = getattr(clients(), name)
        assert made.meta.service_model.service_name == service
        assert made.meta.config.retries == {"mode": "standard", "total_max_attempts": 5}
