"""Refuses a deployment that fails for certain, by its names, its parameters and its images."""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

from botocore.exceptions import ClientError

from adapters.aws.clients import Clients, aws_call
from fleet.errors import Refused
from fleet.rules.door import networks
from infra.compose import compose
from infra.package import TEMPLATE, parameter_names
from operations.deploy import Deployment, bucket_name, describe
from operations.stacks import cloudformation_of

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,127}")
# The longest names that AWS takes, by the property of the template that holds it; 64 for others,
# which is a function's, a schedule group's and a role's. Source: each service's quotas.
_LONGEST = {"StateMachineName": 80, "LaunchTemplateName": 128, "LogGroupName": 512}
_LONGEST_BUCKET = 63
_STACK_NAME = "${AWS::StackName}"
# Names that AWS reserves: its event bus, and beginnings of buckets and of its own resources.
_RESERVED = re.compile(r"default|(aws|amazon|xn-|sthree-|amzn-s3-demo-).*", re.IGNORECASE)
_IMAGES = ("Ec2Image", "Ec2ImageArm64", "LambdaImage")
_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/"
    r"(?P<repository>[^@:]+)(?::[^@]+)?@(?P<digest>sha256:[0-9a-f]{64})"
)


def check_deployment(aws: Clients, deployment: Deployment) -> None:
    """Raise `Refused` for what fails for certain, before anything is built or uploaded."""
    _check_name(aws, deployment)
    _check_parameters(deployment.parameters)
    describe(aws, deployment.stack)
    _check_images(aws, deployment.parameters)


def _check_name(aws: Clients, deployment: Deployment) -> None:
    stack = deployment.stack
    if not _NAME.fullmatch(stack):
        raise Refused(
            "name the stack with letters, digits and hyphens, a letter first", stack=stack
        )
    if _RESERVED.fullmatch(stack):
        raise Refused(
            "AWS keeps this name, or its beginning, for itself: choose another", stack=stack
        )
    longest = longest_name(deployment, cloudformation_of(aws).meta.region_name)
    if len(stack) > longest:
        hint = "" if deployment.bucket else "; with a --bucket of yours it may be longer"
        raise Refused(
            f"this stack's name is too long for the resources named after it: at most {longest}"
            f" letters{hint if longest < longest_name(deployment, None) else ''}",
            stack=stack,
            letters=len(stack),
        )


def _check_parameters(parameters: Mapping[str, str]) -> None:
    known = parameter_names() if parameters else frozenset()
    for name in parameters:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "see infra/template.yaml"
            raise Refused(f"the template has no parameter {name}: {hint}")
    for name, value in parameters.items():
        _check_value(name, value)
    try:
        networks(parameters.get("AllowedSources", ""))
    except ValueError as error:  # else the function would fail at each delivery
        raise Refused(f"AllowedSources: {error}") from error


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
