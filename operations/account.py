"""The AWS account as commands meet it: who asks, where, and what AWS allows."""

from collections.abc import Callable
from dataclasses import dataclass

from botocore.exceptions import ClientError

from adapters.aws.clients import Clients, aws_call
from fleet.errors import FleetError
from fleet.rules.lambda_account import LambdaQuota
from fleet.rules.quotas import ON_DEMAND, SPOT, AccountQuotas, Quota
from operations.stacks import cloudformation_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who the credentials are of, and the region of the calls."""

    account: str
    arn: str
    region: str

    @property
    def name(self) -> str:
        """The user, or the role with its session."""
        return self.arn.rpartition(":")[2]


def caller(aws: Clients) -> Caller:
    """Raises `Refused` without valid credentials or a region."""
    region = cloudformation_of(aws).meta.region_name
    with aws_call("sts.GetCallerIdentity"):
        answer = aws.sts.get_caller_identity()
    return Caller(account=answer["Account"], arn=answer.get("Arn", ""), region=region)


def quotas_of(aws: Clients) -> AccountQuotas:
    """The quotas that the fleet counts on; None for each that the credentials may not read."""
    return AccountQuotas(
        on_demand_vcpus=_readable(lambda: quota_of(aws, ON_DEMAND)),
        spot_vcpus=_readable(lambda: quota_of(aws, SPOT)),
        lambda_at_once=_readable(lambda: lambda_quota(aws).executions),
    )


def _readable(read: Callable[[], int]) -> int | None:
    try:
        return read()
    except (FleetError, KeyError):
        return None


def quota_of(aws: Clients, quota: Quota) -> int:
    """The account's own value, else AWS's default: a quota never raised may have none."""
    codes = {"ServiceCode": quota.service, "QuotaCode": quota.code}
    try:
        with aws_call("service-quotas.GetServiceQuota", passing=("NoSuchResourceException",)):
            answer = aws.quotas.get_service_quota(**codes)
    except ClientError:
        with aws_call("service-quotas.GetAWSDefaultServiceQuota"):
            answer = aws.quotas.get_aws_default_service_quota(**codes)
    return int(answer["Quota"]["Value"])


def lambda_quota(aws: Clients) -> LambdaQuota:
    """What the account allows its functions. Raises `FleetError` where it may not be read."""
    with aws_call("lambda.GetAccountSettings"):
        limit = aws.functions.get_account_settings()["AccountLimit"]
    return LambdaQuota(
        executions=int(limit["ConcurrentExecutions"]),
        unreserved=int(limit["UnreservedConcurrentExecutions"]),
    )
