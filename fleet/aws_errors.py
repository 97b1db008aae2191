"""The kind of each AWS error code, and advice to a person; botocore's own errors, too.

The one table: what a call raises (`adapters.aws.clients`), how long a capacity pool is left alone
(`fleet.rules.capacity`) and what the operator reads are looked up here. Sources: the error shapes
of Lambda's Invoke in botocore's service model; the list "Error codes for the Amazon EC2 API"; the
codes in CreateFleet's own `Errors`. A code that is not in the table belongs to a family by its
name, as AWS builds names: `InvalidAMIID.NotFound`.
"""

from enum import StrEnum


class ErrorKind(StrEnum):
    """The kinds of failure, by the fleet's answer to them."""

    CAPACITY = "capacity"  # none there now: ask elsewhere, ask here again in minutes
    THROTTLE = "throttle"  # too fast, or AWS hiccuped: the same again in seconds
    QUOTA = "quota"  # the account may not have more: wait for machines to end, or ask AWS
    CONFIGURATION = "configuration"  # will not work until someone changes something
    BOOT = "boot"  # a machine started and failed: ask other capacity pools first
    UNKNOWN = "unknown"  # a code without a rule: treated as capacity, reported as it is


# The fleet's own code: AWS has none for it.
SERVED_NO_JOB = "ServedNoJob"

_TABLE: tuple[tuple[ErrorKind, str, str], ...] = (
    # EC2: no machine there
    (
        ErrorKind.CAPACITY,
        "InsufficientInstanceCapacity InsufficientCapacity UnfulfillableCapacity",
        "AWS has none of this type in this zone now; name more instance types or more subnets",
    ),
    (
        ErrorKind.CAPACITY,
        "InsufficientHostCapacity InsufficientCapacityOnHost UnavailableHostRequirements"
        " IncompatibleHostRequirements",
        "no dedicated host has room; take dedicated tenancy out of the launch template",
    ),
    (
        ErrorKind.CAPACITY,
        "ReservationCapacityExceeded InsufficientReservedInstanceCapacity"
        " InsufficientReservedInstancesCapacity",
        "the capacity reservation is used up; enlarge it or do not target it",
    ),
    (
        ErrorKind.CAPACITY,
        "SpotMaxPriceTooLow",
        "the spot price is above the price limit; take the limit out of the launch template",
    ),
    (
        ErrorKind.CAPACITY,
        "InsufficientFreeAddressesInSubnet InsufficientAddressCapacity"
        " SubnetIPAddressLimitReachedException",
        "the subnet has no free address; use a larger subnet or more of them",
    ),
    (
        ErrorKind.CAPACITY,
        "InsufficientVolumeCapacity",
        "the zone has no disk of this kind now; add subnets in other zones",
    ),
    # The account's limits
    (
        ErrorKind.QUOTA,
        "VcpuLimitExceeded InstanceLimitExceeded",
        "the account's on-demand vCPU quota is used up; raise it in Service Quotas"
        " (Running On-Demand Standard instances)",
    ),
    (
        ErrorKind.QUOTA,
        "MaxSpotInstanceCountExceeded MaxSpotFleetRequestCountExceeded",
        "the account's spot vCPU quota is used up; raise it in Service Quotas"
        " (All Standard Spot Instance Requests)",
    ),
    (
        ErrorKind.QUOTA,
        "VolumeLimitExceeded MaxIOPSLimitExceeded VolumeIOPSLimit",
        "the account's disk quota is used up; raise it in Service Quotas, or lower disk_gb",
    ),
    (
        ErrorKind.QUOTA,
        "ENILimitReachedException NetworkInterfaceLimitExceeded",
        "the network has its largest number of interfaces; raise the quota in Service Quotas",
    ),
    (
        ErrorKind.QUOTA,
        "ResourceLimitExceeded ResourceCountExceeded RequestResourceCountExceeded"
        " TargetCapacityLimitExceededException ServiceQuotaExceededException",
        "an AWS quota is used up; see which in Service Quotas, or lower the ceiling",
    ),
    # Slower, or once more
    (
        ErrorKind.THROTTLE,
        "RequestLimitExceeded Throttling ThrottlingException ThrottledException RequestThrottled"
        " RequestThrottledException EC2ThrottledException ProvisionedThroughputExceededException"
        " LimitExceededException BandwidthLimitExceeded PriorRequestNotComplete SlowDown"
        " TransactionConflictException TransactionInProgressException",
        "AWS asks for fewer calls; the fleet slows down by itself",
    ),
    (
        ErrorKind.THROTTLE,
        "TooManyRequestsException",
        "Lambda runs as many at once as it may; raise the account's concurrency quota or the"
        " function's reserved concurrency, or lower the ceiling",
    ),
    (
        ErrorKind.THROTTLE,
        "InternalError InternalException InternalFailure InternalServerError InternalServiceError"
        " ServiceException ServiceUnavailable ServiceUnavailableException"
        " Unavailable RequestTimeout RequestTimeoutException EC2UnexpectedException"
        " EndpointConnectionError ConnectTimeoutError ReadTimeoutError ConnectionClosedError"
        " HTTPClientError ConnectionError SSLError ProxyConnectionError ResponseStreamingError"
        " MetadataRetrievalError",
        "AWS failed for a moment; the fleet asks again",
    ),
    (
        ErrorKind.THROTTLE,
        "IdempotentParameterMismatch IdempotentInstanceTerminated",
        "this launch was asked for before and its machine is gone; the fleet asks for a new one",
    ),
    (
        ErrorKind.THROTTLE,
        "ExpiredToken ExpiredTokenException RequestExpired",
        "the fleet's short-lived credentials ran out; it asks again with new ones",
    ),
    (
        ErrorKind.THROTTLE,
        "ENINotReadyException ResourceNotReadyException ResourceConflictException"
        " SnapStartNotReadyException SnapStartTimeoutException CodeArtifactUserPendingException"
        " SnapStartRegenerationFailureException",
        "the function is being made ready or updated; the fleet asks again",
    ),
    (
        ErrorKind.THROTTLE,
        "EFSMountConnectivityException EFSMountTimeoutException EFSIOException"
        " S3FilesMountConnectivityException S3FilesMountTimeoutException",
        "the function's file system did not answer; the fleet asks again",
    ),
    # Machines that come and do not serve
    (
        ErrorKind.BOOT,
        SERVED_NO_JOB,
        "a machine from there never served; look at its console output in EC2, check the image",
    ),
    # Someone must change something
    (
        ErrorKind.CONFIGURATION,
        "Unsupported UnsupportedOperation InvalidFleetConfiguration VolumeTypeNotAvailableInZone",
        "this zone or image does not go with this instance type; check instance_types, subnets"
        " and image: processor, boot mode, zone",
    ),
    (
        ErrorKind.CONFIGURATION,
        "InvalidLaunchTemplateId InvalidLaunchTemplateName",
        "the launch template is gone; run `runner-fleet deploy`",
    ),
    (
        ErrorKind.CONFIGURATION,
        "InvalidAMIID InvalidAMIName InvalidImageId InvalidBlockDeviceMapping",
        "the image is gone, or not in this region, or larger than disk_gb; check image",
    ),
    (
        ErrorKind.CONFIGURATION,
        "InvalidSubnetID InvalidSubnet InvalidSubnetIDException InvalidAvailabilityZone InvalidZone"
        " InvalidVpcID VPCIdNotSpecified InvalidGroup InvalidGroupId InvalidSecurityGroupID"
        " InvalidSecurityGroupIDException",
        "the network is not as deployed; check subnets, then run `runner-fleet deploy`",
    ),
    (
        ErrorKind.CONFIGURATION,
        "InvalidInstanceType InvalidInstanceFamily",
        "EC2 has no such instance type here; check instance_types",
    ),
    (
        ErrorKind.CONFIGURATION,
        "InvalidIamInstanceProfileArn InvalidIamInstanceProfile",
        "the machines' instance profile is gone; run `runner-fleet deploy`",
    ),
    (
        ErrorKind.CONFIGURATION,
        "UnauthorizedOperation AccessDenied AccessDeniedException EC2AccessDeniedException"
        " OperationNotPermitted NoCredentialsError InvalidClientTokenId UnrecognizedClientException"
        " SignatureDoesNotMatch NoRegionError PartialCredentialsError ProfileNotFound"
        " SSOTokenLoadError TokenRetrievalError UnauthorizedSSOTokenError",
        "the fleet's role may not do this; run `runner-fleet deploy`, and look for a permissions"
        " boundary or an organisation's policy",
    ),
    (
        ErrorKind.CONFIGURATION,
        "AuthFailure",
        "AWS does not let this account launch here; for spot, run"
        " `aws iam create-service-linked-role --aws-service-name spot.amazonaws.com`",
    ),
    (
        ErrorKind.CONFIGURATION,
        "OptInRequired PendingVerification Blocked",
        "AWS has not opened this account or product yet; see the account's messages from AWS",
    ),
    (
        ErrorKind.CONFIGURATION,
        "KMSAccessDeniedException KMSDisabledException KMSInvalidStateException"
        " KMSNotFoundException CustomerKeyHasBeenRevoked EncryptedVolumesNotSupported",
        "the encryption key cannot be used; give the fleet's role access to it, or enable it",
    ),
    (
        ErrorKind.CONFIGURATION,
        "ResourceNotFoundException",
        "there is no runner function of this size; run `runner-fleet image build` and `image use`,"
        " or deploy with the parameter LargestRunner that the pool's size needs",
    ),
    (
        ErrorKind.CONFIGURATION,
        "NoPublishedVersionException InvalidRuntimeException InvalidZipFileException"
        " CodeArtifactUserDeletedException CodeArtifactUserFailedException"
        " ModeNotSupportedException SnapStartException DurableExecutionAlreadyStartedException"
        " RecursiveInvocationException",
        "the runner's function is not as deployed; run `runner-fleet deploy`",
    ),
    (
        ErrorKind.CONFIGURATION,
        "EFSMountFailureException S3FilesMountFailureException",
        "the function cannot mount its file system; the fleet needs none: `runner-fleet deploy`",
    ),
    (
        ErrorKind.CONFIGURATION,
        "DryRunOperation RequestTooLargeException SerializedRequestEntityTooLargeException"
        " UnsupportedMediaTypeException InvalidRequestContentException InvalidParameterValue"
        " InvalidParameterValueException InvalidParameter InvalidParameterCombination"
        " MissingParameter UnknownParameter ValidationError"
        " ParamValidationError ValidationException",
        "AWS does not take the request; its message says which value, most likely of fleet.toml",
    ),
)
_KNOWN = {code: (kind, words) for kind, codes, words in _TABLE for code in codes.split()}

DENIED = "these AWS credentials may not do this: see docs/operations.md"
# What the table says is meant for the fleet; an operator's own call fails by other credentials.
_BY_HAND: tuple[tuple[str, str], ...] = (
    ("AccessDenied AccessDeniedException", DENIED),
    (
        "ConnectTimeoutError EndpointConnectionError",
        "nothing answers there: check the network and AWS_ENDPOINT_URL",
    ),
    ("ExpiredToken ExpiredTokenException", "the AWS credentials are too old: log in again"),
    (
        "InvalidClientTokenId UnrecognizedClientException",
        "AWS does not know these credentials: check AWS_PROFILE",
    ),
    ("NoCredentialsError", "there are no AWS credentials: set AWS_PROFILE, or log in"),
    ("NoRegionError", "no AWS region is set: set AWS_REGION"),
    ("PartialCredentialsError", "half of the AWS credentials is missing: check the environment"),
    ("ProfileNotFound", "there is no such AWS profile: check AWS_PROFILE"),
    ("SSOTokenLoadError", "log in first: aws sso login"),
    ("TokenRetrievalError UnauthorizedSSOTokenError", "log in again: aws sso login"),
)
ADVICE_BY_HAND = {code: words for codes, words in _BY_HAND for code in codes.split()}
"""What an operator can do about an error of a call of their own, by its code."""

# Families, by how AWS builds names: how it starts, how it ends, a code that means the same.
_FAMILIES = (
    ("Insufficient", "", "InsufficientInstanceCapacity"),
    ("Throttl", "", "Throttling"),
    ("", "LimitExceeded", "ResourceLimitExceeded"),
    ("", "LimitExceededException", "ResourceLimitExceeded"),
    ("Unauthorized", "", "UnauthorizedOperation"),
    ("Unsupported", "", "Unsupported"),
    ("Invalid", "", "InvalidParameterValue"),
    ("Malformed", "", "InvalidParameterValue"),
    ("Missing", "", "InvalidParameterValue"),
)
_UNKNOWN_CODE = (
    ErrorKind.UNKNOWN,
    "AWS gave a code the fleet does not know; its message says more, and the fleet tries again",
)


def classify(code: str) -> ErrorKind:
    """The kind of an AWS error code, or of the name of a botocore error."""
    return _look_up(code)[0]


def advice(code: str) -> str:
    """A sentence, without a full stop, with what a user can do about an AWS code."""
    return _look_up(code)[1]


def _look_up(code: str) -> tuple[ErrorKind, str]:
    # EC2 writes the same codes as "Server.InsufficientInstanceCapacity" in an instance's state.
    plain = code.removeprefix("Server.").removeprefix("Client.")
    for name in (plain, plain.partition(".")[0]):
        if name in _KNOWN:
            return _KNOWN[name]
    for start, end, like in _FAMILIES:
        if plain.startswith(start) and plain.endswith(end):
            return _KNOWN[like]
    return _UNKNOWN_CODE
