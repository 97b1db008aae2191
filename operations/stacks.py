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
    if not name:  # AWS would answer with every stack
        raise Refused("name the stack with --stack")
    client = cloudformation_of(aws)
    try:
        with aws_call("cloudformation.DescribeStacks", passing=("ValidationError",)):
            stacks = client.describe_stacks(StackName=name)["Stacks"]
    except ClientError:
        return None
    return stacks[0] if stacks else None


def outputs_of(aws: Clients, name: str) -> dict[str, str]:
    """The outputs of the stack. Raises `Refused` when there is none."""
    stack = find_stack(aws, name)
    if stack is None:
        raise Refused(
            "there is no such stack here: run `runner-fleet deploy`, or name another with --stack",
            stack=name,
            region=aws.cloudformation.meta.region_name,
        )
    return {
        output["OutputKey"]: output["OutputValue"]
        for output in stack.get("Outputs", [])
        if "OutputKey" in output and "OutputValue" in output
    }


def parameters_of(aws: Clients, name: str) -> dict[str, str]:
    """The parameters of the stack; empty when there is none."""
    stack = find_stack(aws, name)
    parameters = stack.get("Parameters", []) if stack else []
    return {
        parameter["ParameterKey"]: parameter.get("ParameterValue", "") for parameter in parameters
    }


def cloudformation_of(aws: Clients) -> "CloudFormationClient":
    """The client. It is the first that a command makes: `Refused` for a bad region or endpoint."""
    try:
        with aws_call("cloudformation.DescribeStacks"):
            return aws.cloudformation
    except ValueError as error:
        raise Refused(
            "this is not an address of AWS: check AWS_ENDPOINT_URL", words=error
        ) from error
