"""What the account sets for the Lambda runners, before a deployment."""

import pytest

from fleet.errors import Refused
from operations.lambda_parameters import lambda_parameters
from tests.unit.cli.cloudformation import FakeAws, refusal

IMAGE = {"LambdaImage": "x@sha256:0"}
TENANTS = {"TenantIsolation": "true"}


@pytest.mark.parametrize(
    ("quota", "parameters", "before", "reserved", "note"),
    [
        ((1000, 1000), IMAGE, None, "133", "of 6 functions"),
        (
            (1000, 1000),
            IMAGE | {"LargestRunner": "2gb"},
            None,
            "400",
            "1000 executions at once; 200 are left",
        ),
        ((1000, 300), IMAGE, None, "16", "each of 6 functions"),
        ((10, 10), IMAGE, None, None, "ceilings of all Lambda pools together at 4"),
        ((105, 105), IMAGE, None, None, "ceilings of all Lambda pools together at 99"),
        ((400, 400), IMAGE, None, "43", "may run 400 Lambda functions at once"),
        ((1000, 1000), {}, None, None, ""),
        ((1000, 1000), {}, {"LambdaImage": ""}, None, ""),
        ((1000, 1000), IMAGE | {"RunnerConcurrency": "7"}, None, None, ""),
        ((1000, 1000), {}, IMAGE | {"RunnerConcurrency": "7"}, None, ""),
        ((1000, 1000), {}, IMAGE, "133", "each of 6 functions"),
        ((1000, 1000), IMAGE | {"RunnerConcurrency": ""}, None, None, ""),
    ],
)
def test_runners_reserve_what_leaves_the_control_plane_its_share(
    quota: tuple[int, int],
    parameters: dict[str, str],
    before: dict[str, str] | None,
    reserved: str | None,
    note: str,
) -> None:
    aws = FakeAws()
    aws.executions, aws.unreserved = quota
    limits = lambda_parameters(aws.clients(), parameters, before)
    assert limits.parameters.get("RunnerConcurrency") == reserved
    assert note in " ".join(limits.notes)
    assert bool(limits.notes) is bool(note)


@pytest.mark.parametrize(
    ("quota", "largest", "has_note"),
    [(10, "8gb", True), (10, "4gb", True), (10, "2gb", False), (11, "8gb", False)],
)
def test_a_new_account_may_have_no_large_runner(
    quota: int, largest: str, *, has_note: bool
) -> None:
    aws = FakeAws()
    aws.executions = aws.unreserved = quota
    notes = lambda_parameters(aws.clients(), IMAGE | {"LargestRunner": largest}, None).notes
    assert any("above 3,008 MB" in note for note in notes) is has_note


def test_a_quota_that_may_not_be_read_stops_nothing() -> None:
    aws = FakeAws()
    aws.failing["get_account_settings"] = refusal("AccessDeniedException")
    limits = lambda_parameters(aws.clients(), IMAGE, None)
    assert (limits.parameters, len(limits.notes)) == ({}, 1)


@pytest.mark.parametrize(
    ("region", "parameters", "before", "tenants"),
    [
        ("eu-central-1", IMAGE, None, None),
        ("cn-north-1", IMAGE, None, "false"),
        ("us-gov-west-1", IMAGE, {"LambdaImage": ""} | TENANTS, "false"),
        ("us-gov-west-1", IMAGE | TENANTS, None, None),
        ("us-gov-west-1", {}, IMAGE | TENANTS, None),
    ],
    ids=["has it", "China", "before its functions", "tried anyway", "made already"],
)
def test_tenants_are_apart_where_the_region_can(
    region: str, parameters: dict[str, str], before: dict[str, str] | None, tenants: str | None
) -> None:
    aws = FakeAws(region=region)
    limits = lambda_parameters(aws.clients(), parameters, before)
    assert limits.parameters.get("TenantIsolation") == tenants


@pytest.mark.parametrize(
    ("region", "parameters", "before", "snap_start"),
    [
        ("eu-central-1", {}, None, None),
        ("ap-east-2", {}, None, "false"),
        ("us-gov-west-1", {}, {"LogDays": "7"}, "false"),
        ("us-gov-west-1", {"WebhookSnapStart": "true"}, None, None),
        ("us-gov-west-1", {}, {"WebhookSnapStart": "true"}, None),
    ],
    ids=["has them", "Taipei", "an older stack", "tried anyway", "tried before"],
)
def test_the_webhook_starts_from_a_snapshot_where_the_region_can(
    region: str, parameters: dict[str, str], before: dict[str, str] | None, snap_start: str | None
) -> None:
    limits = lambda_parameters(FakeAws(region=region).clients(), parameters, before)
    assert limits.parameters.get("WebhookSnapStart") == snap_start
    assert bool(limits.notes) is (snap_start is not None)


def test_what_is_fixed_with_the_functions_is_not_changed() -> None:
    with pytest.raises(Refused, match="fixed when functions are made"):
        lambda_parameters(FakeAws().clients(), {"TenantIsolation": "false"}, IMAGE | TENANTS)
