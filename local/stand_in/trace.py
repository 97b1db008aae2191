"""The job's log as it grows: secrets hidden, size bounded, checksum kept."""

from __future__ import annotations

import codecs
import threading
import zlib
from collections.abc import Iterable

from local.stand_in.masking import Filters

_YELLOW, _RESET = "\033[33;1m", "\033[0;m"


class Trace:
    """All output of one job. Writing and reading may happen in different threads."""

    def __init__(
        self,
        *,
        secrets: Iterable[str] = (),
        token_prefixes: Iterable[str] = (),
        limit_bytes: int = 4 * 1024 * 1024,
    ) -> None:
        self._masker = Filters(secrets, token_prefixes)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._limit = limit_bytes
        self._is_full = False
        self.is_debug = False  # GitLab shows such a log to fewer people
        self._content = bytearray()
        self._crc = 0
        self._lock = threading.Lock()

    def write(self, data: bytes | str) -> None:
        """Add output; a secret may come in pieces."""
        raw = data.encode() if isinstance(data, str) else data
        with self._lock:
            self._add(self._masker.feed(self._decoder.decode(raw).encode()))

    def finish(self) -> None:
        """Close the log: nothing is held back any more."""
        with self._lock:
            rest = self._decoder.decode(b"", final=True).encode()
            self._add(self._masker.feed(rest) + self._masker.flush())

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
            kept = data[:room].decode(errors="ignore").encode()  # never half a character
            data = kept + self._farewell()
        self._content += data
        self._crc = zlib.crc32(data, self._crc)

    def _farewell(self) -> bytes:
        said = (
            f"\n{_YELLOW}Job's log exceeded limit of {self._limit} bytes.\n"
            f"Job execution will continue but no more output will be collected.{_RESET}\n"
        )
        return said.encode()
