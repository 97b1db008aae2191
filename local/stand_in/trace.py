"""The job's log as it grows: secrets hidden however they are cut, size bounded, checksum kept.

Source: gitlab-runner 17.9, `common/buildlogger/internal`: masker, urlsanitizer, tokensanitizer.
"""

import codecs
import re
import threading
import zlib
from collections.abc import Callable, Iterable

_MASK = b"[MASKED]"
# Of tokens and of addresses, by what stands before the secret part.
_TOKENS = (
    *("glpat-", "gloas-", "gldt-", "glrt-", "glcbt-", "glptt-", "glft-", "glimt-", "glagent-"),
    *("glsoat-", "glffct-", "_gitlab_session=", "gltok-"),
)
_URL_KEYS = (
    *("private_token", "authenticity_token", "rss_token"),
    *("x-amz-signature", "x-amz-credential", "x-amz-security-token"),
)
_NONE = re.compile(rb"(?!)")


class Filter:
    """Replaces what `whole` matches, its first group kept, by `[MASKED]`.

    `unfinished` says where in the output so far something may begin that more output completes:
    from there on it is held back.
    """

    def __init__(self, whole: re.Pattern[bytes], unfinished: Callable[[bytes], int]) -> None:
        self._whole = whole
        self._unfinished = unfinished
        self._held = b""

    def feed(self, data: bytes, *, is_end: bool = False) -> bytes:
        """What can be let out now; everything at the end."""
        data = self._held + data
        keep = len(data) if is_end else self._unfinished(data)
        clean, end = [], 0
        for match in self._whole.finditer(data):
            if match.start() >= keep:
                break  # something longer may still follow from an earlier byte
            clean.append(data[end : match.start()] + (match[1] or b"") + _MASK)
            end = match.end()
        keep = max(keep, end)
        self._held = data[keep:]
        return b"".join([*clean, data[end:keep]])


def secrets_filter(secrets: Iterable[str]) -> Filter:
    """Hides these words."""
    # The longest first, so that one secret inside another does not cut it in two.
    words = sorted({word.encode() for word in secrets if word}, key=len, reverse=True)
    whole = re.compile(b"()(?:%s)" % b"|".join(map(re.escape, words))) if words else _NONE
    longest = max(map(len, words), default=0)

    def unfinished(data: bytes) -> int:
        for start in range(max(0, len(data) - longest + 1), len(data)):
            rest = data[start:]
            if any(word.startswith(rest) and word != rest for word in words):
                return start
        return len(data)

    return Filter(whole, unfinished)


def heads_filter(heads: Iterable[str], characters: bytes, flags: re.RegexFlag = re.ASCII) -> Filter:
    """Hides the characters that follow one of these heads."""
    # The longest first: of two heads at one place it decides.
    known = sorted({head.encode() for head in heads}, key=len, reverse=True)
    begun = sorted({re.escape(head[:end]) for head in known for end in range(1, len(head))})
    either = b"|".join(map(re.escape, known))
    whole = re.compile(b"(%s)%s+" % (either, characters), flags)
    tail = re.compile(b"(?:(?:%s)%s*|%s)\\Z" % (either, characters, b"|".join(begun)), flags)

    def unfinished(data: bytes) -> int:
        match = tail.search(data)
        return match.start() if match else len(data)

    return Filter(whole, unfinished)


class Trace:
    """All output of one job. Writing and reading may happen in different threads."""

    def __init__(
        self,
        *,
        secrets: Iterable[str] = (),
        token_prefixes: Iterable[str] = (),
        limit_bytes: int = 4 * 1024 * 1024,
        is_debug: bool = False,
    ) -> None:
        keys = [f"{start}{key}=" for start in "?&" for key in _URL_KEYS]
        self._filters = (
            secrets_filter(secrets),
            heads_filter(keys, rb"[^?&\s\x00-\x1f\x7f]", re.ASCII | re.IGNORECASE),
            heads_filter([*token_prefixes, *_TOKENS], rb"[-.\w=]"),
        )
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._limit = limit_bytes
        self._is_full = False
        self.is_debug = is_debug  # GitLab shows such a log to fewer people
        self._content = bytearray()
        self._crc = 0
        self._lock = threading.Lock()

    def write(self, data: bytes | str, *, is_end: bool = False) -> None:
        """Add output; a secret or a character may come in pieces. At the end nothing is held."""
        raw = data.encode() if isinstance(data, str) else data
        with self._lock:
            clean = self._decoder.decode(raw, final=is_end).encode()
            for stage in self._filters:
                clean = stage.feed(clean, is_end=is_end)
            self._add(clean)

    @property
    def size(self) -> int:
        """Bytes so far."""
        with self._lock:
            return len(self._content)

    @property
    def checksum(self) -> str:
        """CRC-32 of everything so far, as GitLab compares it."""
        with self._lock:
            return f"crc32:{self._crc:08x}"

    def read(self, start: int, most: int) -> bytes:
        """Up to `most` bytes from `start` on."""
        with self._lock:
            return bytes(self._content[start : start + most])

    def _add(self, data: bytes) -> None:
        if self._is_full or not data:
            return
        room = self._limit - len(self._content)
        if len(data) >= room:
            self._is_full = True
            data = data[:room].decode(errors="ignore").encode()  # never half a character
            data += f"\n\033[33;1mJob's log exceeded limit of {self._limit} bytes.\n".encode()
            data += b"Job execution will continue but no more output will be collected.\033[0;m\n"
        self._content += data
        self._crc = zlib.crc32(data, self._crc)
