"""Hides secrets in a stream of output, however it is cut into pieces."""

from __future__ import annotations

import re
from collections.abc import Iterable

_MASK = b"[MASKED]"


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
