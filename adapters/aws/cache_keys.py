"""Keys of the job cache: temporary, and for the objects of one project only.

They are of a session of the cache role, restricted by a session policy; no machine and no other
function has a right in the bucket. Source: STS, AssumeRole.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from adapters.aws.clients import aws_call
from fleet.machine.mailbox import CacheBucket

if TYPE_CHECKING:
    from mypy_boto3_sts import STSClient

SHORTEST_SESSION = timedelta(minutes=15)
# Of a session that another role's session starts, as a function's is.
LONGEST_SESSION = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheScope:
    """The objects that keys are for, and for how long."""

    project_id: int
    is_protected: bool  # jobs of protected_only pools share no object with others
    session: str  # how CloudTrail names the user of the keys
    lasts: timedelta  # STS grants from 15 minutes to an hour

    @property
    def prefix(self) -> str:
        """The part of each object key before gitlab-runner's own `project/<id>/`."""
        return "protected" if self.is_protected else "open"


class CacheKeys:
    """Hands out the keys; a call for each runner."""

    def __init__(
        self, client: "STSClient", *, bucket: str, role: str, environment: Mapping[str, str]
    ) -> None:
        """`role` is the cache role's ARN; `environment` may name another S3 than AWS's."""
        self._client = client
        self._bucket = bucket
        self._role = role
        endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
        self._endpoint = urlsplit(endpoint or "")

    def of(self, scope: CacheScope) -> CacheBucket:
        """The bucket with keys for one project. Raises `Transient` or `Refused`."""
        lasts = min(max(scope.lasts, SHORTEST_SESSION), LONGEST_SESSION)
        with aws_call("sts.AssumeRole"):
            keys = self._client.assume_role(
                RoleArn=self._role,
                RoleSessionName=scope.session,
                DurationSeconds=int(lasts.total_seconds()),
                Policy=self._policy(scope),
            )["Credentials"]
        return CacheBucket(
            bucket=self._bucket,
            region=self._client.meta.region_name,
            prefix=scope.prefix,
            server=self._endpoint.netloc or None,
            insecure=self._endpoint.scheme == "http",
            access_key=keys["AccessKeyId"],
            secret_key=keys["SecretAccessKey"],
            session_token=keys["SessionToken"],
            keys_end_at=keys["Expiration"],
        )

    def _policy(self, scope: CacheScope) -> str:
        objects = f"{scope.prefix}/project/{scope.project_id}/*"
        arn = f"{self._role.rpartition(':iam:')[0]}:s3:::{self._bucket}"
        statements = [
            {
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:PutObject"],
                "Resource": f"{arn}/{objects}",
            },
            {  # without it a cache that does not exist yet reads as forbidden
                "Effect": "Allow",
                "Action": "s3:ListBucket",
                "Resource": arn,
                "Condition": {"StringLike": {"s3:prefix": objects}},
            },
        ]
        return json.dumps({"Version": "2012-10-17", "Statement": statements})
