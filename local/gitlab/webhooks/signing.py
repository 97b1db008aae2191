"""How GitLab signs a delivery. Pure.

Source: GitLab docs, "Webhooks", signing tokens (19.0); the Standard Webhooks scheme.
"""

import base64
import binascii
from datetime import UTC, datetime

from standardwebhooks import Webhook

PREFIX = "whsec_"
KEY_BYTES = 32


class BadSigningToken(ValueError):
    """A signing token is `whsec_` and the base64 of exactly 32 bytes."""


def check_signing_token(token: str) -> None:
    """Check the form that GitLab asks of a token. Raises `BadSigningToken`."""
    if not token.startswith(PREFIX):
        raise BadSigningToken(f"must start with {PREFIX}")
    try:
        key = base64.b64decode(token.removeprefix(PREFIX), validate=True)
    except binascii.Error as exc:
        raise BadSigningToken("must be base64") from exc
    if len(key) != KEY_BYTES:
        raise BadSigningToken(f"must hold {KEY_BYTES} bytes")


def signature(token: str, *, delivery_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature` for one delivery; `timestamp` in seconds."""
    signed_at = datetime.fromtimestamp(timestamp, UTC)
    return str(Webhook(token).sign(delivery_id, signed_at, body.decode()))
