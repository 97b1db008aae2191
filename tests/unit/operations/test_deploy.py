"""What a deployment uploads and sends to CloudFormation, and the reason of a failure."""

from typing import Any

import pytest

from fleet.errors import FleetError, Refused
from operations.deploy import Deployment, deploy, describe
from operations.deploy_check import check_deployment
from tests.unit.cli.cloudformation import FakeAws, refusal, waited_in_vain

ORDER = Deployment(stack="demo", bucket="b")
OURS = {
    "CodeBucket",
    "CodeKey",
    "MachinesPrefix",
    "Version",
    "ImageSources",
}  # parameters that `deploy` itself gives


def keys(parameters: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        parameter["ParameterKey"]: parameter.get("ParameterValue", True) for parameter in parameters
    }


def failed(resource: str, reason: str, status: str = "CREATE_FAILED") -> dict[str, str]:
    return {
        "LogicalResourceId": resource,
        "ResourceStatus": status,
        "ResourceStatusReason": reason,
    }


# The first time


def test_a_first_deployment_uploads_makes_the_stack_and_waits() -> None:
    aws = FakeAws()
    order = Deployment(stack="demo", bucket="b", parameters={"LogDays": "7"}, every_s=0.5)
    done = deploy(aws.clients(), order, b"zip")
    assert (done.word, dict(done.outputs)) == ("created", aws.outputs)
    assert aws.calls[-2:] == ["create_stack", "stack_create_complete"]
    assert aws.paces == [{"Delay": 0.5, "MaxAttempts": 360}]
    assert (aws.request["StackName"], set(aws.described)) == ("demo", {"demo"})
    assert aws.request["Capabilities"] == ["CAPABILITY_IAM"]
    parameters = keys(aws.updated)
    assert set(parameters) == OURS | {"LogDays"}
    assert (parameters["CodeBucket"], parameters["LogDays"]) == ("b", "7")
    assert aws.objects["b", parameters["CodeKey"]] == b"zip"
    assert ("b", f"{parameters['MachinesPrefix']}/route.asl.json") in aws.objects
    bucket, _, key = aws.request["TemplateURL"].partition("/b/")
    assert (bucket, key.split("/")[0]) == ("https://s3.eu-central-1.example.com", "templates")
    assert b"AWSTemplateFormatVersion" in aws.objects["b", key]


@pytest.mark.parametrize(
    ("region", "options"),
    [
        ("us-east-1", {}),  # where S3 refuses a region
        ("eu-central-1", {"CreateBucketConfiguration": {"LocationConstraint": "eu-central-1"}}),
    ],
)
def test_without_a_bucket_deploy_makes_one(region: str, options: dict[str, Any]) -> None:
    aws = FakeAws(region=region)
    deploy(aws.clients(), Deployment(stack="Demo"), b"zip")
    name = f"demo-code-123456789012-{region}"
    assert aws.buckets == {name: options}
    assert keys(aws.updated)["CodeBucket"] == name


def test_a_bucket_that_is_ours_already_is_used() -> None:
    aws = FakeAws()
    aws.failing["create_bucket"] = refusal("BucketAlreadyOwnedByYou")
    assert deploy(aws.clients(), Deployment(stack="demo"), b"zip").word == "created"


def test_a_bucket_that_cannot_be_written_stops_the_deployment() -> None:
    aws = FakeAws()
    aws.failing["put_object"] = refusal("NoSuchBucket")
    with pytest.raises(Refused) as refused:
        deploy(aws.clients(), ORDER, b"zip")
    assert refused.value.facts == {"call": "s3.PutObject", "code": "NoSuchBucket"}
    assert "create_stack" not in aws.calls


# Again


def test_an_update_keeps_what_the_template_still_takes() -> None:
    aws = FakeAws({"CacheDays": "3", "LogDays": "7", "OfAnOlderTemplate": "1"})
    done = deploy(
        aws.clients(), Deployment(stack="demo", bucket="b", parameters={"LogDays": "30"}), b"zip"
    )
    assert done.word == "updated"
    parameters = keys(aws.updated)
    assert parameters["LogDays"] == "30"
    assert parameters["CacheDays"] is True  # as it was
    assert "OfAnOlderTemplate" not in parameters
    assert {"ParameterKey": "CacheDays", "UsePreviousValue": True} in aws.updated
    assert aws.calls[-2:] == ["update_stack", "stack_update_complete"]


def test_only_what_changed_is_uploaded_and_waited_for() -> None:
    aws = FakeAws()
    first = deploy(aws.clients(), ORDER, b"zip")
    aws.calls.clear()
    deploy(aws.clients(), ORDER, b"newer")
    assert aws.calls == ["put_object", "update_stack", "stack_update_complete"]
    assert aws.paces[-1]["Delay"] == 5
    codes = [body for (_, key), body in aws.objects.items() if key.startswith("functions/")]
    assert codes == [b"zip", b"newer"]  # the old code stays
    aws.calls.clear()
    aws.failing["update_stack"] = refusal("ValidationError", "No updates are to be performed.")
    again = deploy(aws.clients(), ORDER, b"zip")
    assert (again.word, again.outputs) == ("unchanged", first.outputs)
    assert aws.calls == ["update_stack"]


def test_an_update_that_cloudformation_does_not_take_says_why() -> None:
    aws = FakeAws({})
    aws.failing["update_stack"] = refusal(
        "ValidationError", "Stack:demo is in UPDATE_IN_PROGRESS state and can not be updated."
    )
    with pytest.raises(Refused, match="does not take the update") as refused:
        deploy(aws.clients(), ORDER, b"zip")
    assert "is in UPDATE_IN_PROGRESS state" in str(refused.value)


# When it fails


def test_the_error_names_the_first_failures_and_not_what_followed_from_them() -> None:
    aws = FakeAws()
    aws.failing["stack_create_complete"] = waited_in_vain()
    aws.events = [  # newest first
        failed("Stack", "The following resource(s) failed"),
        failed("Third", "it is full"),
        failed("Second", "Resource creation cancelled"),
        failed("Fine", "", status="CREATE_COMPLETE"),
        failed("First", "no such image"),
    ]
    with pytest.raises(Refused) as refused:
        deploy(aws.clients(), ORDER, b"zip")
    assert str(refused.value) == (
        "the stack was not created: First: no such image; "
        "Second: Resource creation cancelled; Third: it is full"
    )


# Before anything is built


def stack_in(status: str) -> FakeAws:
    aws = FakeAws({})
    assert aws.stack is not None
    aws.stack["StackStatus"] = status
    return aws


def test_a_stack_whose_first_deployment_failed_must_go_first() -> None:
    aws = stack_in("ROLLBACK_COMPLETE")
    for call in (
        lambda: check_deployment(aws.clients(), ORDER),
        lambda: deploy(aws.clients(), ORDER, b"z"),
    ):
        with pytest.raises(Refused, match="delete this stack first"):
            call()
    assert aws.calls == []


def test_a_stack_that_was_deleted_is_none() -> None:
    assert describe(stack_in("DELETE_COMPLETE").clients(), "demo") is None
    assert describe(stack_in("UPDATE_ROLLBACK_COMPLETE").clients(), "demo") is not None


@pytest.mark.parametrize(
    ("name", "bucket", "says"),
    [
        *(
            (name, None, "letters, digits and hyphens")
            for name in ("", "bad name", "-demo", "1demo", "demo_1", "demo.x", "d" * 129)
        ),
        *(
            (name, None, "AWS keeps this name")
            for name in ("default", "aws-fleet", "Amazon", "xn--a", "sthree-x")
        ),
        # our own bucket is <stack>-code-<account>-<region>, of 63 letters at most
        ("d" * 33, None, "at most 32 letters; with a --bucket of yours it may be longer"),
        # a function is <stack>-runner-protected-2gb, of 64 letters at most
        ("d" * 44, "ours", "at most 43 letters"),
    ],
)
def test_a_name_that_no_stack_can_have_is_refused(name: str, bucket: str | None, says: str) -> None:
    aws = FakeAws()
    with pytest.raises(Refused, match=says):
        check_deployment(aws.clients(), Deployment(stack=name, bucket=bucket))
    assert aws.described == []


@pytest.mark.parametrize("name", ["d", "Demo-1", "d" * 32, "my-default", "paws"])
def test_a_name_that_a_stack_can_have_is_not(name: str) -> None:
    check_deployment(FakeAws().clients(), Deployment(stack=name, parameters={"LogDays": "7"}))
    check_deployment(FakeAws().clients(), Deployment(stack="d" * 43, bucket="ours"))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("LogDay", "LogDay: did you mean LogDays?"),
        ("Xyzzy", "Xyzzy: see infra/template.yaml"),
    ],
)
def test_a_parameter_that_the_template_does_not_take_is_refused(name: str, hint: str) -> None:
    aws = FakeAws()
    with pytest.raises(Refused) as refused:
        check_deployment(
            aws.clients(), Deployment(stack="demo", parameters={"LogDays": "7", name: "7"})
        )
    assert str(refused.value) == f"the template has no parameter {hint}"
    assert aws.described == []


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("LambdaTimeout", "600", "whole number from 720 to 1800"),
        ("LambdaTimeout", "3600", "whole number from 720 to 1800"),
        ("CacheTtl", "-1", "whole number from 0"),
        ("CacheDays", "many", "whole number from 1"),
        ("LogDays", "8", "must be one of 1, 3, 5"),
        ("VpcCidr", "10.0.0.0/20", "VpcCidr must be a network of /16 to /19"),
        ("AllowedSources", ",".join(["192.168.100.100/32"] * 10), "at most 180 letters"),
    ],
)
def test_a_value_that_the_template_does_not_take_is_refused(
    name: str, value: str, says: str
) -> None:
    aws = FakeAws()
    with pytest.raises(Refused, match=says):
        check_deployment(aws.clients(), Deployment(stack="demo", parameters={name: value}))
    assert aws.described == []


@pytest.mark.parametrize("text", ["300.1.1.1/8", "gitlab.com", "34.74.90.65/28", "10.0.0.0/8;"])
def test_networks_that_are_none_are_refused_before_anything_is_built(text: str) -> None:
    aws = FakeAws()
    with pytest.raises(Refused, match="AllowedSources"):
        check_deployment(
            aws.clients(), Deployment(stack="demo", parameters={"AllowedSources": text})
        )
    assert aws.described == []


def test_credentials_that_do_not_do_are_seen_before_anything_is_built() -> None:
    aws = FakeAws()
    aws.failing["describe_stacks"] = refusal("ExpiredToken")
    with pytest.raises(FleetError, match="ExpiredToken"):
        check_deployment(aws.clients(), ORDER)
