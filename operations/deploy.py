"""Deploys the template: uploads the code, creates or updates the stack, and waits for it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, WaiterError

from adapters.aws.clients import Clients, aws_call
from fleet.errors import Refused
from fleet.rules.door import networks
from infra.compose import compose
from infra.package import TEMPLATE, Uploaded, parameter_names, upload
from operations.lambda_parameters import lambda_parameters
from operations.stacks import cloudformation_of, find_stack

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import ParameterTypeDef, StackTypeDef

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,127}")
# The longest names that AWS takes, by the property of the template that holds it; 64 for others,
# which is a function's, a schedule group's and a role's. Source: each service's quotas.
_LONGEST = {"StateMachineName": 80, "LaunchTemplateName": 128, "LogGroupName": 512}
_LONGEST_BUCKET = 63
_STACK_NAME = "${AWS::StackName}"
# Names that AWS keeps: its event bus, and beginnings of buckets and of its own resources.
_KEPT = re.compile(r"default|(aws|amazon|xn-|sthree-|amzn-s3-demo-).*", re.IGNORECASE)
_IMAGES = ("Ec2Image", "Ec2ImageArm64", "LambdaImage")
_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/"
    r"(?P<repository>[^@:]+)(?::[^@]+)?@(?P<digest>sha256:[0-9a-f]{64})"
)
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


def check(aws: Clients, deployment: Deployment) -> None:
    """Raise `Refused` for what fails for certain, before anything is built or uploaded."""
    if not _NAME.fullmatch(deployment.stack):
        raise Refused(
            "name the stack with letters, digits and hyphens, a letter first",
            stack=deployment.stack,
        )
    if _KEPT.fullmatch(deployment.stack):
        raise Refused(
            "AWS keeps this name, or its beginning, for itself: choose another",
            stack=deployment.stack,
        )
    longest = longest_name(deployment, cloudformation_of(aws).meta.region_name)
    if len(deployment.stack) > longest:
        hint = "" if deployment.bucket else "; with a --bucket of yours it may be longer"
        raise Refused(
            f"this stack's name is too long for the resources named after it: at most {longest}"
            f" letters{hint if longest < longest_name(deployment, None) else ''}",
            stack=deployment.stack,
            letters=len(deployment.stack),
        )
    known = parameter_names() if deployment.parameters else frozenset()
    for name in deployment.parameters:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "see infra/template.yaml"
            raise Refused(f"the template has no parameter {name}: {hint}")
    for name, value in deployment.parameters.items():
        _check_value(name, value)
    try:
        networks(deployment.parameters.get("AllowedSources", ""))
    except ValueError as error:  # else the function would fail at each delivery
        raise Refused(f"AllowedSources: {error}") from error
    describe(aws, deployment.stack)
    _check_images(aws, deployment.parameters)


def _check_value(name: str, value: str) -> None:
    """Check a value against the template's own pattern, list and bounds, as CloudFormation will."""
    rule = parameter_rules()[name]
    pattern, allowed = rule.get("AllowedPattern"), rule.get("AllowedValues")
    if pattern is not None and not re.search(pattern, value):
        hint = rule.get("ConstraintDescription", f"must match {pattern}")
        raise Refused(f"{name} {hint}", given=value)
    if allowed is not None and value not in [str(choice) for choice in allowed]:
        raise Refused(f"{name} must be one of {', '.join(map(str, allowed))}", given=value)
    longest = rule.get("MaxLength")
    if longest is not None and len(value) > longest:
        raise Refused(f"{name} may have at most {longest} letters", letters=len(value))
    if rule["Type"] == "Number" and not _is_within(value, rule):
        bounds = f"from {rule['MinValue']}" if "MinValue" in rule else ""
        bounds += f" to {rule['MaxValue']}" if "MaxValue" in rule else ""
        raise Refused(f"{name} must be a whole number {bounds}".rstrip(), given=value)


def _is_within(value: str, rule: Mapping[str, Any]) -> bool:
    """Whether a text is a whole number between the bounds that the template says, if any."""
    if not (value.isascii() and value.isdigit()):
        return False
    low, high = rule.get("MinValue", 0), rule.get("MaxValue")
    return int(value) >= low and (high is None or int(value) <= high)


def _check_images(aws: Clients, parameters: Mapping[str, str]) -> None:
    """Look for the images that are named: a deployment would fail some minutes from now."""
    if name := parameters.get("MachineImage"):
        _check_machine_image(aws, name)
    for parameter in _IMAGES:
        if uri := parameters.get(parameter):
            _check_container_image(aws, parameter, uri)


def _check_machine_image(aws: Clients, name: str) -> None:
    try:
        with aws_call("ssm.GetParameter", passing=("ParameterNotFound", "ValidationException")):
            value = aws.ssm.get_parameter(Name=name)["Parameter"]["Value"]
    except ClientError as error:
        raise Refused(
            "MachineImage: there is no SSM parameter of that name in this region", given=name
        ) from error
    if not re.fullmatch(r"ami-[0-9a-f]+", str(value)):
        raise Refused("MachineImage: this SSM parameter holds no image's id", given=name)


def _check_container_image(aws: Clients, parameter: str, uri: str) -> None:
    if parameter == "LambdaImage" and _ECR.fullmatch(uri) is None:
        raise Refused("LambdaImage must be in ECR, where Lambda takes images from", given=uri)
    if wrong := image_fault(aws, uri):
        raise Refused(f"{parameter}: {wrong}", given=uri)


def image_fault(aws: Clients, uri: str) -> str | None:
    """Ask ECR for an image of ECR's: what is wrong, or None.

    Nothing is known of an image of another registry, which its machine pulls.
    """
    match = _ECR.fullmatch(uri)
    if match is None:
        return None
    region = cloudformation_of(aws).meta.region_name
    if match["region"] != region:
        return f"it must be in ECR of the stack's region, {region}"
    absent = ("ImageNotFoundException", "RepositoryNotFoundException")
    try:
        with aws_call("ecr.DescribeImages", passing=absent):
            aws.ecr.describe_images(
                registryId=match["account"],
                repositoryName=match["repository"],
                imageIds=[{"imageDigest": match["digest"]}],
            )
    except ClientError:
        return "ECR has no such image"
    return None


def longest_name(deployment: Deployment, region: str | None) -> int:
    """The longest stack name, as the template and our bucket name resources after it.

    Without a region our own bucket does not count.
    """
    rooms = [
        _LONGEST.get(kind, 64) - len(name.replace(_STACK_NAME, ""))
        for kind, name in names_in_template()
    ]
    if region is not None and not deployment.bucket:
        rooms.append(_LONGEST_BUCKET - len(bucket_name("", "0" * 12, region)))
    return min(rooms)


@cache
def parameter_rules() -> Mapping[str, Any]:
    """What the template says of each of its parameters."""
    rules: Mapping[str, Any] = compose(TEMPLATE.read_text())["Parameters"]
    return rules


@cache
def names_in_template() -> tuple[tuple[str, str], ...]:
    """Each property of the template that is a name made of the stack's, and that name."""
    return tuple(_derived_names(compose(TEMPLATE.read_text())["Resources"]))


def _derived_names(value: Any) -> Iterator[tuple[str, str]]:
    """Each property whose value is a name made of the stack's, and that name."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in pairs:
        match item:
            case {"Fn::Sub": str(name)} if str(key).endswith("Name") and _STACK_NAME in name:
                yield str(key), name
            case dict() | list():
                yield from _derived_names(item)


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
