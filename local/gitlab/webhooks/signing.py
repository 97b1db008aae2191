"""How GitLab signs a delivery. Pure.

Source: GitLab docs, "Webhooks", signing tokens (19.0); the Standard Webhooks scheme.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

PREFIX = "whsec_"
KEY_BYTES = 32


class BadSigningToken(ValueError):
    """A signing token is `whsec_` and the base64 of exactly 32 bytes."""


def signing_key(token: str) -> bytes:
    """The key inside a signing token. Raises `BadSigningToken`."""
    if not token.startswith(PREFIX):
        raise BadSigningToken(f"must start with {PREFIX}")
    try:
        key = base64.b64decode(token.removeprefix(PREFIX), validate=True)
    except binascii.Error as exc:
        raise BadSigningToken("must be base64") from exc
    if len(key) != KEY_BYTES:
        raise BadSigningToken(f"must hold {KEY_BYTES} bytes")
    return key


def signature(token: str, *, delivery_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature` for one delivery."""
    signed = f"{delivery_id}.{timestamp}.".encode() + body
    digest = hmac.new(signing_key(token), signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()
