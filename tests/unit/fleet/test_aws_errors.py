"""The table of AWS codes: what each means, and that no code of the calls we make is missing."""

import re

import botocore.session
import pytest

from fleet.aws_errors import ADVICE_BY_HAND, ErrorKind, advice, classify

# What the comparable autoscalers retry, fall back on or give up at, by what it means here.
PEERS = {
    ErrorKind.CAPACITY: """
        InsufficientInstanceCapacity InsufficientCapacityOnHost InsufficientHostCapacity
        InsufficientFreeAddressesInSubnet UnfulfillableCapacity ReservationCapacityExceeded
        SpotMaxPriceTooLow
    """,
    ErrorKind.QUOTA: """
        MaxSpotInstanceCountExceeded MaxSpotFleetRequestCountExceeded VcpuLimitExceeded
        InstanceLimitExceeded ResourceLimitExceeded TargetCapacityLimitExceededException
        VolumeLimitExceeded
    """,
    ErrorKind.THROTTLE: "RequestLimitExceeded Throttling EC2ThrottledException ServiceUnavailable",
    ErrorKind.CONFIGURATION: """
        Unsupported UnsupportedOperation UnauthorizedOperation AuthFailure OptInRequired
        AuthFailure.ServiceLinkedRoleCreationNotPermitted PendingVerification Blocked
        InvalidLaunchTemplateId.NotFound InvalidLaunchTemplateId.VersionNotFound
        InvalidLaunchTemplateName.NotFoundException InvalidAMIID.NotFound InvalidAMIID.Malformed
        InvalidSubnetID.NotFound InvalidGroup.NotFound InvalidParameterValue
        InvalidParameterCombination InvalidFleetConfiguration MissingParameter
    """,
}
INVOKE = botocore.session.get_session().get_service_model("lambda").operation_model("Invoke")
INVOKE_ERRORS = {shape.name: shape.metadata["error"] for shape in INVOKE.error_shapes}


@pytest.mark.parametrize(
    ("code", "kind"),
    [(code, kind) for kind, codes in PEERS.items() for code in codes.split()],
)
def test_what_peers_treat(code: str, kind: ErrorKind) -> None:
    assert classify(code) is kind


@pytest.mark.parametrize("code", sorted(INVOKE_ERRORS))
def test_every_error_of_invoke_is_known(code: str) -> None:
    assert classify(code) is not ErrorKind.UNKNOWN
    if INVOKE_ERRORS[code]["httpStatusCode"] == 429:
        assert classify(code) is ErrorKind.THROTTLE
    if "AccessDenied" in code or "NotFound" in code:
        assert classify(code) is ErrorKind.CONFIGURATION


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        pytest.param("ServiceException", ErrorKind.THROTTLE, id="a hiccup of Lambda"),
        pytest.param("ENILimitReachedException", ErrorKind.QUOTA, id="interfaces"),
        pytest.param("SubnetIPAddressLimitReachedException", ErrorKind.CAPACITY, id="addresses"),
        pytest.param("IdempotentInstanceTerminated", ErrorKind.THROTTLE, id="a launch asked twice"),
        pytest.param("RequestExpired", ErrorKind.THROTTLE, id="credentials that ran out"),
        pytest.param("ReadTimeoutError", ErrorKind.THROTTLE, id="botocore's own"),
        pytest.param(
            "Server.InsufficientInstanceCapacity", ErrorKind.CAPACITY, id="an instance's state"
        ),
        pytest.param("Client.InvalidSnapshot.NotFound", ErrorKind.CONFIGURATION, id="the client's"),
        pytest.param("InsufficientMagicCapacity", ErrorKind.CAPACITY, id="family: insufficient"),
        pytest.param("WandLimitExceeded", ErrorKind.QUOTA, id="family: limit"),
        pytest.param("WandLimitExceededException", ErrorKind.QUOTA, id="family: limit exception"),
        pytest.param("ThrottledAgain", ErrorKind.THROTTLE, id="family: throttle"),
        pytest.param("InvalidWand.NotFound", ErrorKind.CONFIGURATION, id="family: invalid"),
        pytest.param("MalformedWand", ErrorKind.CONFIGURATION, id="family: malformed"),
        pytest.param("MissingWand", ErrorKind.CONFIGURATION, id="family: missing"),
        pytest.param("UnsupportedWand", ErrorKind.CONFIGURATION, id="family: unsupported"),
        pytest.param("UnauthorizedWand", ErrorKind.CONFIGURATION, id="family: unauthorized"),
        pytest.param("WandBroken", ErrorKind.UNKNOWN, id="never heard of"),
        pytest.param("", ErrorKind.UNKNOWN, id="nothing"),
    ],
)
def test_classify(code: str, kind: ErrorKind) -> None:
    assert classify(code) is kind


ALL = sorted({*INVOKE_ERRORS, *(code for codes in PEERS.values() for code in codes.split())})


@pytest.mark.parametrize("code", [*ALL, "InvalidWand.NotFound", "WandBroken"])
def test_advice_says_what_to_do(code: str) -> None:
    sentence = advice(code)
    assert re.fullmatch(r"[^\n]{30,200}[^.\s]", sentence)
    assert sentence[0].islower() or sentence.startswith(("AWS", "EC2", "Lambda"))


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("VcpuLimitExceeded", "Running On-Demand Standard instances"),
        ("MaxSpotInstanceCountExceeded", "All Standard Spot Instance Requests"),
        ("InsufficientInstanceCapacity", "more instance types"),
        ("InvalidAMIID.NotFound", "check image"),
        ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", "create-service-linked-role"),
        ("TooManyRequestsException", "concurrency"),
        ("ResourceNotFoundException", "LargestRunner"),
        ("WandBroken", "does not know"),
    ],
)
def test_advice_is_about_the_code(code: str, word: str) -> None:
    assert word in advice(code)


@pytest.mark.parametrize("code", ADVICE_BY_HAND)
def test_what_an_operator_is_advised_about_is_in_the_table(code: str) -> None:
    assert classify(code) is not ErrorKind.UNKNOWN
