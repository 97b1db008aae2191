"""Signatures against GitLab's own scheme and an independent implementation of it."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st
from standardwebhooks import Webhook

from local.gitlab.webhooks.signing import BadSigningToken, signature, signing_key

TOKEN = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
DELIVERY = "f5e5f430-f57b-4e6e-9fac-d9128cd7232f"
BODY = b'{"object_kind":"build","build_id":1977,"build_status":"pending"}'


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "whsec_"),
        ("whsec_not base64!", "base64"),
        ("whsec_AAEC", "32 bytes"),
        ("whsec_" + base64.b64encode(bytes(33)).decode(), "32 bytes"),
        ("", "whsec_"),
    ],
)
def test_other_tokens_are_refused(token: str, why: str) -> None:
    with pytest.raises(BadSigningToken, match=why):
        signing_key(token)


@given(key=st.binary(min_size=32, max_size=32), body=st.text().map(str.encode))
def test_agrees_with_the_standard_webhooks_library(key: bytes, body: bytes) -> None:
    token = "whsec_" + base64.b64encode(key).decode()
    theirs = Webhook(token).sign(DELIVERY, datetime.fromtimestamp(1786000000, UTC), body.decode())
    assert signature(token, delivery_id=DELIVERY, timestamp=1786000000, body=body) == theirs


@pytest.mark.parametrize("odd", ["!", "\n", " "])
def test_a_token_holds_nothing_but_base64(odd: str) -> None:
    whole = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    assert len(signing_key(whole)) == 32
    with pytest.raises(BadSigningToken, match="must be base64"):
        signing_key(whole[:20] + odd + whole[20:])
