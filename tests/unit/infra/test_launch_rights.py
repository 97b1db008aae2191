"""What CreateFleet needs of its caller besides the right to launch."""

import pytest

from tests.unit.infra.documents import as_list, statements


def allowed(action: str) -> list[object]:
    """The resources for which the scale role may do this."""
    found = [one for one in statements("ScaleRole") if action in as_list(one["Action"])]
    return [resource for one in found for resource in as_list(one["Resource"])]


def test_the_zones_of_subnets_may_be_read() -> None:
    assert allowed("ec2:DescribeSubnets") == ["*"]


@pytest.mark.parametrize(
    "where", ["${AWS::AccountId}:parameter/runner-fleet/*", ":parameter/aws/service/*"]
)
def test_a_parameter_that_names_an_image_may_be_read(where: str) -> None:
    arn = {"Fn::Sub": "arn:${AWS::Partition}:ssm:${AWS::Region}:" + where}
    assert arn in allowed("ssm:GetParameters")


def test_no_parameter_may_be_written() -> None:
    actions = [one for each in statements("ScaleRole") for one in as_list(each["Action"])]
    assert [one for one in actions if one.startswith("ssm:")] == ["ssm:GetParameters"]
