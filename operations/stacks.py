"""A CloudFormation stack by its name: whether it is there, and its outputs."""

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from adapters.aws.clients import Clients, aws_call
from fleet.errors import Refused

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import StackTypeDef


def find_stack(aws: Clients, name: str) -> "StackTypeDef | None":
    """The stack as it is; None when there is none. `Refused` when AWS may not be asked."""
    if not name:  # AWS would tell of every stack there is
        raise Refused("name the stack with --stack")
    client = cloudformation_of(aws)
    try:
        with aws_call("cloudformation.DescribeStacks", passing=("ValidationError",)):
            found = client.describe_stacks(StackName=name)["Stacks"]
    except ClientError:
        return None
    return found[0] if found else None


def outputs_of(aws: Clients, name: str) -> dict[str, str]:
    """What the stack says of itself. `Refused` when there is none."""
    found = find_stack(aws, name)
    if found is None:
        raise Refused(
            "there is no such stack here: deploy it, or name it with --stack",
            stack=name,
            region=aws.cloudformation.meta.region_name,
        )
    return {
        one["OutputKey"]: one["OutputValue"]
        for one in found.get("Outputs", [])
        if "OutputKey" in one and "OutputValue" in one
    }


def cloudformation_of(aws: Clients) -> "CloudFormationClient":
    """The client; the first that is made, so it meets every fault of region and endpoint."""
    try:
        with aws_call("cloudformation.DescribeStacks"):
            return aws.cloudformation
    except ValueError as error:
        raise Refused("this is no address of AWS: check AWS_ENDPOINT_URL", said=error) from error
