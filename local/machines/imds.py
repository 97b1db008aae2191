"""The instance metadata of local guests: one server, one path prefix per instance.

Version 2 only, as on the fleet's own machines. Source: EC2 User Guide, "Instance metadata
categories".
"""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from fleet.errors import FleetError
from local.loopback import Answerer, LoopbackServer

CREDENTIALS_LAST = timedelta(hours=1)


@dataclass(slots=True, kw_only=True)
class InstanceMetadata:
    """The metadata of one instance; a running one may get notices."""

    instance_id: str
    region: str
    zone: str
    instance_type: str
    image_id: str
    role: str  # name of the instance's role
    tags: Mapping[str, str]
    user_data: str
    role_keys: Callable[[], Mapping[str, str]] = field(repr=False)  # as AWS_* variables
    spot_at: datetime | None = None
    rebalance_at: datetime | None = None

    def find(self, path: str) -> str | None:
        """The text at a path below `latest/`, `None` where EC2 answers 404."""
        pages: dict[str, Callable[[], str | None]] = {
            "meta-data/instance-id": lambda: self.instance_id,
            "meta-data/instance-type": lambda: self.instance_type,
            "meta-data/ami-id": lambda: self.image_id,
            "meta-data/placement/region": lambda: self.region,
            "meta-data/placement/availability-zone": lambda: self.zone,
            "meta-data/iam/security-credentials": lambda: self.role,
            f"meta-data/iam/security-credentials/{self.role}": self._credentials,
            "meta-data/spot/instance-action": self._spot,
            "meta-data/events/recommendations/rebalance": self._rebalance,
            "meta-data/tags/instance": lambda: "\n".join(self.tags),
            "dynamic/instance-identity/document": self._identity,
            "user-data": lambda: self.user_data or None,
        }
        tag = path.removeprefix("meta-data/tags/instance/")
        if tag != path:
            return self.tags.get(tag)
        page = pages.get(path.rstrip("/"))
        return page() if page else None

    def _credentials(self) -> str:
        keys, now = self.role_keys(), datetime.now(UTC)
        return json.dumps(
            {
                "Code": "Success",
                "LastUpdated": _stamp(now),
                "Type": "AWS-HMAC",
                "AccessKeyId": keys["AWS_ACCESS_KEY_ID"],
                "SecretAccessKey": keys["AWS_SECRET_ACCESS_KEY"],
                "Token": keys["AWS_SESSION_TOKEN"],
                "Expiration": _stamp(now + CREDENTIALS_LAST),
            }
        )

    def _spot(self) -> str | None:
        if self.spot_at is None:
            return None
        return json.dumps({"action": "terminate", "time": _stamp(self.spot_at)})

    def _rebalance(self) -> str | None:
        if self.rebalance_at is None:
            return None
        return json.dumps({"noticeTime": _stamp(self.rebalance_at)})

    def _identity(self) -> str:
        return json.dumps(
            {
                "instanceId": self.instance_id,
                "region": self.region,
                "availabilityZone": self.zone,
                "instanceType": self.instance_type,
                "imageId": self.image_id,
                "version": "2017-09-30",
            }
        )


class ImdsServer(LoopbackServer):
    """Answers at `endpoint(instance id)`; a context."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        """Bind a free port of one of this machine's addresses."""
        self._instances: dict[str, InstanceMetadata] = {}
        self._addresses: dict[str, str] = {}  # instance ids
        self._tokens: dict[str, float] = {}
        super().__init__(type("Answerer", (_MetadataAnswerer,), {"imds": self}), host=host)

    def add(self, instance: InstanceMetadata) -> str:
        """Serve an instance from now on; its endpoint, for AWS_EC2_METADATA_SERVICE_ENDPOINT."""
        self._instances[instance.instance_id] = instance
        return f"{self.url}/{instance.instance_id}/"

    def at(self, address: str, instance_id: str) -> None:
        """Serve an instance to the guest with this address, without a prefix, as EC2 does."""
        self._addresses[address] = instance_id

    def remove(self, instance_id: str) -> None:
        """Stop serving an instance."""
        self._instances.pop(instance_id, None)
        for address in [at for at, served in self._addresses.items() if served == instance_id]:
            del self._addresses[address]

    def instance_at(self, address: str) -> str:
        """The id of the instance with this address; empty without one."""
        return self._addresses.get(address, "")

    def grant(self, ttl_s: float) -> str:
        """A new token."""
        token = secrets.token_urlsafe(32)
        self._tokens[token] = time.monotonic() + ttl_s
        return token

    def knows(self, token: str | None) -> bool:
        """Whether the token is known and has not expired."""
        return token is not None and self._tokens.get(token, 0.0) > time.monotonic()

    def instance(self, instance_id: str) -> InstanceMetadata | None:
        """The metadata of an instance, or None."""
        return self._instances.get(instance_id)


class _MetadataAnswerer(Answerer):
    imds: ImdsServer
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:  # noqa: N802  the name http.server asks for
        ttl = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if not self.path.endswith("/latest/api/token"):
            self._answer(404, "")
        elif not ttl.isdigit():
            self._answer(400, "")
        else:
            self._answer(200, self.imds.grant(float(ttl)))

    def do_GET(self) -> None:  # noqa: N802  the name http.server asks for
        instance_id, _, path = self.path.partition("/latest/")
        instance_id = instance_id.strip("/") or self.imds.instance_at(self.client_address[0])
        instance = self.imds.instance(instance_id)
        if not self.imds.knows(self.headers.get("X-aws-ec2-metadata-token")):
            self._answer(401, "")
            return
        try:
            text = instance.find(path) if instance else None
        except FleetError:  # the engine restarts
            self._answer(503, "")
            return
        self._answer(404 if text is None else 200, text or "")

    def _answer(self, status: int, text: str) -> None:
        self.answer(status, text.encode(), "text/plain")


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
