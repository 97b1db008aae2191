"""The instance metadata of local guests: one server, one path prefix per instance.

Version 2 only, as on the fleet's own machines. Source: EC2 User Guide, "Instance metadata
categories".
"""

import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from fleet.errors import FleetError

CREDENTIALS_LAST = timedelta(hours=1)


@dataclass(slots=True, kw_only=True)
class InstanceMetadata:
    """What one instance can learn about itself. Notices are set while it runs."""

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


class ImdsServer:
    """Answers at `endpoint(instance id)`; a context."""

    def __init__(self) -> None:
        """Bind a free port of the loopback interface."""
        self._instances: dict[str, InstanceMetadata] = {}
        self._tokens: dict[str, float] = {}
        answerer = type("Answerer", (_Answerer,), {"imds": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), answerer)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )

    def add(self, instance: InstanceMetadata) -> str:
        """Serve one more instance; its endpoint, for AWS_EC2_METADATA_SERVICE_ENDPOINT."""
        self._instances[instance.instance_id] = instance
        return f"http://127.0.0.1:{self._server.server_port}/{instance.instance_id}/"

    def remove(self, instance_id: str) -> None:
        """Serve one instance no more."""
        self._instances.pop(instance_id, None)

    def grant(self, ttl_s: float) -> str:
        """A new token."""
        token = secrets.token_urlsafe(32)
        self._tokens[token] = time.monotonic() + ttl_s
        return token

    def knows(self, token: str | None) -> bool:
        """Whether this token was granted and has not run out."""
        return token is not None and self._tokens.get(token, 0.0) > time.monotonic()

    def forget_tokens(self) -> None:
        """Every token has run out."""
        self._tokens.clear()

    def instance(self, instance_id: str) -> InstanceMetadata | None:
        """What is served for one instance."""
        return self._instances.get(instance_id)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Answerer(BaseHTTPRequestHandler):
    """One request."""

    imds: ImdsServer
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        ttl = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if not self.path.endswith("/latest/api/token"):
            self._answer(404, "")
        elif not ttl.isdigit():
            self._answer(400, "")
        else:
            self._answer(200, self.imds.grant(float(ttl)))

    def do_GET(self) -> None:
        instance_id, _, path = self.path.lstrip("/").partition("/latest/")
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
        body = text.encode()
        with suppress(ConnectionError):  # whoever asked may have given up
            self.send_response(status)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
