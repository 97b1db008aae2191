"""AWS clients, and AWS errors as ours."""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from fleet.aws_errors import ErrorKind, classify
from fleet.errors import FleetError, NoCapacity, Refused, Transient

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_scheduler import EventBridgeSchedulerClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sts import STSClient

_KINDS = {
    ErrorKind.CAPACITY: NoCapacity,
    ErrorKind.QUOTA: Refused,
    ErrorKind.THROTTLE: Transient,
    ErrorKind.CONFIGURATION: Refused,
}


def kind_of(code: str, http_status: int | None = None) -> type[FleetError]:
    """The error of ours for an AWS error code, or for the name of a botocore error.

    A code that `fleet.aws_errors` does not know is `Refused`, unless the answer is a 5xx.
    """
    unknown = Transient if http_status is not None and http_status >= 500 else Refused
    return _KINDS.get(classify(code), unknown)


@contextmanager
def aws_call(name: str, *, passing: Collection[str] = ()) -> Iterator[None]:
    """Re-raise botocore's errors as ours; `facts` has `call` and `code`, the cause is kept.

    A code in `passing` is an answer, not a failure: it stays a `ClientError`.
    """
    try:
        yield
    except ClientError as exc:
        code = exc.response["Error"]["Code"]
        if code in passing:
            raise
        status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        raise kind_of(code, status)(call=name, code=code) from exc
    except BotoCoreError as exc:
        code = type(exc).__name__
        raise kind_of(code)(call=name, code=code) from exc


def quick() -> Config:
    """For calls that a caller waits for: at most 7.5 s in all, three attempts of 1.5 s each."""
    return _config(connect_s=0.5, read_s=1.0, attempts=3)


def patient() -> Config:
    """For everything else: 10 s per answer, five attempts."""
    return _config(connect_s=2.0, read_s=10.0, attempts=5)


def slow() -> Config:
    """For CreateFleet, which answers when it has made every machine: 60 s, two attempts.

    An answer that is not awaited loses machines. The second attempt has the same client token, so
    AWS repeats the first answer.
    """
    return _config(connect_s=2.0, read_s=60.0, attempts=2)


def _config(*, connect_s: float, read_s: float, attempts: int) -> Config:
    retries = {"mode": "standard", "total_max_attempts": attempts}
    return Config(
        connect_timeout=connect_s,
        read_timeout=read_s,
        retries=retries,  # type: ignore[arg-type]  # the stubs want a literal
        max_pool_connections=25,
    )


def clients(config: Config | None = None, *, region: str = "") -> "Clients":
    """Clients with the timing of `config`, by default `patient()`.

    Without a `region` it is the AWS CLI's: AWS_REGION, AWS_DEFAULT_REGION, then the profile's.
    """
    asked = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION", "")
    return Clients(_session(asked), config or patient())


class Clients:
    """One client per service, made on first use: a cold start pays only for what it calls."""

    def __init__(self, session: boto3.Session, config: Config) -> None:
        self._session = session
        self._config = config

    def timed(self, config: Config) -> "Clients":
        """The same caller's clients with another timing."""
        return Clients(self._session, config)

    @cached_property
    def cloudformation(self) -> "CloudFormationClient":
        """Stacks."""
        return self._session.client("cloudformation", config=self._config)

    @cached_property
    def cloudwatch(self) -> "CloudWatchClient":
        """Metrics."""
        return self._session.client("cloudwatch", config=self._config)

    @cached_property
    def dynamodb(self) -> "DynamoDBClient":
        """The ledger's table."""
        return self._session.client("dynamodb", config=self._config)

    @cached_property
    def ec2(self) -> "EC2Client":
        """Machines."""
        return self._session.client("ec2", config=self._config)

    @cached_property
    def events(self) -> "EventBridgeClient":
        """The bus."""
        return self._session.client("events", config=self._config)

    @cached_property
    def functions(self) -> "LambdaClient":
        """Lambda functions."""
        return self._session.client("lambda", config=self._config)

    @cached_property
    def codebuild(self) -> Any:
        """The builds of images."""
        return self._session.client("codebuild", config=self._config)

    @cached_property
    def imagebuilder(self) -> Any:
        """The pipelines of machine images."""
        return self._session.client("imagebuilder", config=self._config)

    @cached_property
    def kms(self) -> Any:
        """The mailboxes' key."""
        return self._session.client("kms", config=self._config)

    @cached_property
    def ecr(self) -> Any:
        """Images of the machines."""
        return self._session.client("ecr", config=self._config)

    @cached_property
    def logs(self) -> Any:
        """Log groups."""
        return self._session.client("logs", config=self._config)

    @cached_property
    def quotas(self) -> Any:
        """What AWS allows the account."""
        return self._session.client("service-quotas", config=self._config)

    @cached_property
    def sns(self) -> Any:
        """The topic of the alarms."""
        return self._session.client("sns", config=self._config)

    @cached_property
    def ssm(self) -> Any:
        """Parameters that name machine images."""
        return self._session.client("ssm", config=self._config)

    @cached_property
    def s3(self) -> "S3Client":
        """The job cache and artifacts of a deployment."""
        return self._session.client("s3", config=self._config)

    @cached_property
    def scheduler(self) -> "EventBridgeSchedulerClient":
        """Expiry timers."""
        return self._session.client("scheduler", config=self._config)

    @cached_property
    def secrets(self) -> "SecretsManagerClient":
        """Secrets Manager."""
        return self._session.client("secretsmanager", config=self._config)

    @cached_property
    def sqs(self) -> "SQSClient":
        """Demand queues."""
        return self._session.client("sqs", config=self._config)

    @cached_property
    def sts(self) -> "STSClient":
        """The caller's identity."""
        return self._session.client("sts", config=self._config)


@cache
def _session(region: str = "") -> boto3.Session:
    with aws_call("session"):  # boto3 itself does not read AWS_REGION
        return boto3.Session(region_name=region or None)
