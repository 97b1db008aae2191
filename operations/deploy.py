"""Deploys the template: uploads the code, creates or updates the stack, and waits for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, WaiterError

from adapters.aws.clients import Clients, aws_call
from fleet.errors import Refused
from infra.package import Uploaded, parameter_names, upload
from operations.lambda_parameters import lambda_parameters
from operations.stacks import find_stack

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import ParameterTypeDef, StackTypeDef

UNCHANGED = "No updates are to be performed"
EVERY_S, AT_MOST = 5, 360  # a first deployment takes some minutes; half an hour is a failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What to deploy. `parameters`: of the template, as the operator gives them."""

    stack: str
    bucket: str | None = None  # None: our own, which is made when it is missing
    parameters: Mapping[str, str] = field(default_factory=dict)
    every_s: float = EVERY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployResult:
    """What the deployment did: `created`, `updated` or `unchanged`; and what the stack says."""

    word: str
    outputs: Mapping[str, str]
    notes: tuple[str, ...] = ()  # what the account's limits mean for the fleet


def deploy(aws: Clients, deployment: Deployment, code: bytes) -> DeployResult:
    """Upload what is new and bring the stack to the template; `code` is the functions' zip.

    A parameter that is not given keeps the value that the stack has. Raises `Refused` with
    CloudFormation's reasons when it fails; the stack is then as it was before.
    """
    before = describe(aws, deployment.stack)
    limits = lambda_parameters(aws, deployment.parameters, _values(before))
    deployment = replace(deployment, parameters={**deployment.parameters, **limits.parameters})
    bucket = _bucket(aws, deployment)
    with aws_call("s3.PutObject"):
        uploaded = upload(aws.s3, bucket, code)
    # Path style, at the address that S3 has here: CloudFormation reads the template from there.
    template = f"{aws.s3.meta.endpoint_url}/{uploaded.bucket}/{uploaded.template_key}"
    source = {"TemplateURL": template}
    word = _start(aws, deployment, source, _parameters(deployment, uploaded, before))
    if word != "unchanged":
        _wait(aws, deployment, word)
    return replace(_result(aws, deployment, word), notes=limits.notes)


def deploy_template(aws: Clients, deployment: Deployment, template: str) -> DeployResult:
    """Bring a small stack to this template, with the deployment's parameters and no code.

    Raises `Refused` as `deploy` does.
    """
    word = _start(
        aws, deployment, {"TemplateBody": template}, _parameter_list(deployment.parameters)
    )
    if word != "unchanged":
        _wait(aws, deployment, word)
    return _result(aws, deployment, word)


def _values(stack: "StackTypeDef | None") -> Mapping[str, str] | None:
    """The parameters that a stack has; None without a stack."""
    if stack is None:
        return None
    parameters = stack.get("Parameters", [])
    return {
        parameter["ParameterKey"]: parameter.get("ParameterValue", "") for parameter in parameters
    }


def change_parameters(
    aws: Clients, stack: str, parameters: Mapping[str, str], *, every_s: float = EVERY_S
) -> None:
    """Give the stack other values of these parameters; all else stays as it is, its template, too.

    Raises `Refused` with CloudFormation's reasons; the stack is then as it was before.
    """
    before = describe(aws, stack)
    if before is None:
        raise Refused("there is no such stack here: deploy it first", stack=stack)
    kept: list[ParameterTypeDef] = [
        {"ParameterKey": old["ParameterKey"], "UsePreviousValue": True}
        for old in before.get("Parameters", [])
        if old["ParameterKey"] not in parameters
    ]
    options = {
        "StackName": stack,
        "UsePreviousTemplate": True,
        "Parameters": [*_parameter_list(parameters), *kept],
        "Capabilities": ["CAPABILITY_IAM"],
    }
    if _update(aws, options) == "updated":
        _wait(aws, Deployment(stack=stack, every_s=every_s), "updated")


def bucket_name(stack: str, account: str, region: str) -> str:
    """Our own bucket for code."""
    return f"{stack}-code-{account}-{region}".lower()


def describe(aws: Clients, stack: str) -> "StackTypeDef | None":
    """The stack, or None. Raises `Refused` when it must be deleted first."""
    described = find_stack(aws, stack)
    if described is None or described["StackStatus"] == "DELETE_COMPLETE":
        return None
    if described["StackStatus"] == "ROLLBACK_COMPLETE":
        raise Refused("its first deployment failed: delete this stack first", stack=stack)
    return described


def _bucket(aws: Clients, deployment: Deployment) -> str:
    """The bucket for code; our own is made when it is missing. New buckets are private."""
    if deployment.bucket:
        return deployment.bucket
    with aws_call("sts.GetCallerIdentity"):
        account = aws.sts.get_caller_identity()["Account"]
    region = aws.s3.meta.region_name
    name = bucket_name(deployment.stack, account, region)
    location = {} if region == "us-east-1" else {"LocationConstraint": region}
    options = {"CreateBucketConfiguration": location} if location else {}
    try:
        with aws_call("s3.CreateBucket", passing=("BucketAlreadyOwnedByYou",)):
            aws.s3.create_bucket(Bucket=name, **options)  # type: ignore[arg-type]
    except ClientError:
        pass  # it is ours already
    return name


def _parameters(
    deployment: Deployment, uploaded: Uploaded, before: "StackTypeDef | None"
) -> "list[ParameterTypeDef]":
    given = uploaded.parameters() | dict(deployment.parameters)
    known = parameter_names()  # AWS refuses a parameter that the template does not have
    parameters = _parameter_list(given)
    for old in before.get("Parameters", []) if before else []:
        if old["ParameterKey"] not in given and old["ParameterKey"] in known:
            parameters.append({"ParameterKey": old["ParameterKey"], "UsePreviousValue": True})
    return parameters


def _start(
    aws: Clients,
    deployment: Deployment,
    source: Mapping[str, str],
    parameters: "Sequence[ParameterTypeDef]",
) -> str:
    options = {
        "StackName": deployment.stack,
        **source,
        "Parameters": parameters,
        "Capabilities": ["CAPABILITY_IAM"],
    }
    if describe(aws, deployment.stack) is None:
        with aws_call("cloudformation.CreateStack"):
            aws.cloudformation.create_stack(**options)  # type: ignore[arg-type]
        return "created"
    return _update(aws, options)


def _result(aws: Clients, deployment: Deployment, word: str) -> DeployResult:
    stack = describe(aws, deployment.stack)
    outputs = stack.get("Outputs", []) if stack else []
    return DeployResult(
        word=word, outputs={output["OutputKey"]: output["OutputValue"] for output in outputs}
    )


def _parameter_list(parameters: Mapping[str, str]) -> "list[ParameterTypeDef]":
    return [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()]


def _update(aws: Clients, options: Mapping[str, Any]) -> str:
    try:
        with aws_call("cloudformation.UpdateStack", passing=("ValidationError",)):
            aws.cloudformation.update_stack(**options)
    except ClientError as error:
        if UNCHANGED in str(error):
            return "unchanged"
        raise Refused(
            "CloudFormation does not take the update", words=error.response["Error"]["Message"]
        ) from error
    return "updated"


def _wait(aws: Clients, deployment: Deployment, word: str) -> None:
    client = aws.cloudformation
    waiter = (
        client.get_waiter("stack_create_complete")
        if word == "created"
        else client.get_waiter("stack_update_complete")
    )
    pace = {"Delay": deployment.every_s, "MaxAttempts": AT_MOST}
    try:
        waiter.wait(StackName=deployment.stack, WaiterConfig=pace)  # type: ignore[arg-type]
    except WaiterError as error:
        raise Refused(
            f"the stack was not {word}: {why_it_failed(aws, deployment.stack)}"
        ) from error


def why_it_failed(aws: Clients, stack: str) -> str:
    """The first three failures in CloudFormation's words: later ones follow from them."""
    with aws_call("cloudformation.DescribeStackEvents"):
        events = aws.cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
    failed = [
        f"{event.get('LogicalResourceId', '')}: {event.get('ResourceStatusReason', '')}"
        for event in reversed(events)
        if event.get("ResourceStatus", "").endswith("_FAILED")
    ]
    return "; ".join(failed[:3]) or "CloudFormation does not say why"
