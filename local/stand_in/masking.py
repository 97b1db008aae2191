"""Hides secrets in a stream of output, however it is cut into pieces.

Source: gitlab-runner 17.9, `common/buildlogger/internal`: masker, urlsanitizer, tokensanitizer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_MASK = b"[MASKED]"
# Of tokens and of addresses, by what stands before the secret part.
TOKEN_PREFIXES = (
    *("glpat-", "gloas-", "gldt-", "glrt-", "glcbt-", "glptt-", "glft-", "glimt-", "glagent-"),
    *("glsoat-", "glffct-", "_gitlab_session=", "gltok-"),
)
_URL_KEYS = (
    *("private_token", "authenticity_token", "rss_token"),
    *("x-amz-signature", "x-amz-credential", "x-amz-security-token"),
)
_OF_TOKENS = rb"[-.\w=]"
_OF_PARAMETERS = rb"[^?&\s\x00-\x1f\x7f]"


class Masker:
    """Replaces each secret by `[MASKED]`; holds back an end that may be a secret's beginning."""

    def __init__(self, secrets: Iterable[str]) -> None:
        # The longest first, so that one secret inside another does not cut it in two.
        self._secrets = sorted({s.encode() for s in secrets if s}, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(re.escape(secret) for secret in self._secrets))
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What can be let out now."""
        if not self._secrets:
            return data
        data = self._held + data
        keep = self._possible_start(data)
        clean, end = [], 0
        for found in self._pattern.finditer(data):
            if found.start() >= keep:
                break  # a longer secret may still follow from an earlier byte
            clean.append(data[end : found.start()] + _MASK)
            end = found.end()
        keep = max(keep, end)
        self._held = data[keep:]
        return b"".join([*clean, data[end:keep]])

    def flush(self) -> bytes:
        """What was held back, since nothing follows."""
        rest, self._held = self._pattern.sub(_MASK, self._held) if self._secrets else b"", b""
        return rest

    def _possible_start(self, data: bytes) -> int:
        """Where the earliest unfinished secret could begin; the length when none could."""
        longest = len(self._secrets[0]) - 1
        for start in range(max(0, len(data) - longest), len(data)):
            if any(
                secret.startswith(data[start:])
                for secret in self._secrets
                if secret != data[start:]
            ):
                return start
        return len(data)


class HeadMasker:
    """Keeps each head and replaces the characters that follow it; holds back what may grow.

    `heads` are compared without regard to case where `any_case` says so.
    """

    def __init__(self, heads: Iterable[str], characters: bytes, *, any_case: bool = False) -> None:
        # The longest first: of two heads at one place it decides.
        found = sorted({head.encode() for head in heads}, key=len, reverse=True)
        flags = re.ASCII | (re.IGNORECASE if any_case else 0)
        anyone = b"|".join(re.escape(head) for head in found)
        begun = b"|".join(
            sorted({re.escape(head[:end]) for head in found for end in range(1, len(head))})
        )
        self._whole = re.compile(b"(%s)%s+" % (anyone, characters), flags)
        self._open = re.compile(b"(?:(?:%s)%s*|%s)\\Z" % (anyone, characters, begun), flags)
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What can be let out now."""
        data = self._held + data
        unfinished = self._open.search(data)
        end = unfinished.start() if unfinished else len(data)
        self._held = data[end:]
        return self._masked(data[:end])

    def flush(self) -> bytes:
        """What was held back, since nothing follows."""
        rest, self._held = self._masked(self._held), b""
        return rest

    def _masked(self, data: bytes) -> bytes:
        return self._whole.sub(rb"\1" + _MASK, data)


class Filters:
    """All that hides secrets, one after the other, as the real runner stacks them."""

    def __init__(self, secrets: Iterable[str], token_prefixes: Iterable[str] = ()) -> None:
        keys = [f"{start}{key}=" for start in "?&" for key in _URL_KEYS]
        self._stages: tuple[Masker | HeadMasker, ...] = (
            Masker(secrets),
            HeadMasker(keys, _OF_PARAMETERS, any_case=True),
            HeadMasker([*token_prefixes, *TOKEN_PREFIXES], _OF_TOKENS),
        )

    def feed(self, data: bytes) -> bytes:
        """What can be let out now."""
        for stage in self._stages:
            data = stage.feed(data)
        return data

    def flush(self) -> bytes:
        """What was held back, since nothing follows."""
        rest = b""
        for stage in self._stages:
            rest = stage.feed(rest) + stage.flush()
        return rest
