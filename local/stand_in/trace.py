"""The job's log on its way to GitLab: secrets hidden, size bounded, checksum made, sent in pieces.

Source: gitlab-runner 17.9, `common/buildlogger/internal` and `network/trace.go`.
"""

import re
import threading
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from local.stand_in.gitlab import Job, JobServer, Reply, Result
from local.stand_in.shell import Stops

# Of tokens and of addresses, by what stands before the secret part.
_TOKENS = (
    *("glpat-", "gloas-", "gldt-", "glrt-", "glcbt-", "glptt-", "glft-", "glimt-", "glagent-"),
    *("glsoat-", "glffct-", "_gitlab_session=", "gltok-"),
)
_URL_KEYS = (
    *("private_token", "authenticity_token", "rss_token"),
    *("x-amz-signature", "x-amz-credential", "x-amz-security-token"),
)
_LARGEST_PATCH = 1024 * 1024
_TRIES = 10  # of the final state; the pause between two doubles
_TOUCH_AFTER_S = 30.0  # of silence


class Trace:
    """All output of one job. Writing and reading may happen in different threads.

    Output counts once its line has ended: a masked value has one line, so none is ever cut in two.
    """

    def __init__(
        self,
        *,
        secrets: Iterable[str] = (),
        token_prefixes: Iterable[str] = (),
        limit_bytes: int = 4 * 1024 * 1024,
    ) -> None:
        heads = _either([*token_prefixes, *_TOKENS])
        self._masks = [
            re.compile(rf"([?&](?:{_either(_URL_KEYS)})=)[^?&\s\x00-\x1f\x7f]+", re.A | re.I),
            re.compile(rf"({heads})[-.\w=]+", re.A),
        ]
        if words := _either(secrets):
            self._masks.insert(0, re.compile(f"()(?:{words})"))
        self._limit = limit_bytes
        self._is_full = False
        self._line = bytearray()  # the last one, not yet ended
        self._content = bytearray()
        self._lock = threading.Lock()

    def write(self, data: bytes | str, *, is_end: bool = False) -> None:
        """Add output; at its end the last line counts, too."""
        with self._lock:
            if self._is_full:
                return
            self._line += data.encode() if isinstance(data, str) else data
            end = max(self._line.rfind(b"\n"), self._line.rfind(b"\r")) + 1
            is_over = len(self._line) - end > self._limit
            if is_end or is_over:
                end = len(self._line)
            text = self._line[:end].decode(errors="replace")
            del self._line[:end]
            for mask in self._masks:
                text = mask.sub(r"\1[MASKED]", text)
            self._content += text.encode()
            if is_over or len(self._content) >= self._limit:
                self._cut()

    @property
    def size(self) -> int:
        """Bytes so far."""
        with self._lock:
            return len(self._content)

    @property
    def output(self) -> dict[str, str | int]:
        """Size, and the CRC-32 of everything so far, as GitLab compares them."""
        with self._lock:
            checksum = f"crc32:{zlib.crc32(self._content):08x}"
            return {"checksum": checksum, "bytesize": len(self._content)}

    def read(self, start: int, most: int) -> bytes:
        """Up to `most` bytes from `start` on."""
        with self._lock:
            return bytes(self._content[start : start + most])

    def _cut(self) -> None:
        self._is_full = True
        content = self._content[: self._limit].decode(errors="ignore")  # never half a character
        notice = (
            f"\n\033[33;1mJob's log exceeded limit of {self._limit} bytes.\n"
            "Job execution will continue but no more output will be collected.\033[0;m\n"
        )
        self._content[:] = (content + notice).encode()


def _either(words: Iterable[str]) -> str:
    """A pattern for any of the words: the longest first, so that none cuts another in two."""
    return "|".join(map(re.escape, sorted(filter(None, words), key=len, reverse=True)))


@dataclass
class Sender:
    """Sends one job's log and state, in a thread of its own until `finish`; heeds the answers."""

    gitlab: JobServer
    job: Job
    trace: Trace
    stops: Stops
    interval_s: float  # between two pieces of log, until GitLab asks for another
    pause: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._offset = 0
        self._sent_at = self.clock()
        self._is_done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def finish(self, state: str, **ending: str | int) -> bool:
        """Send the rest and the final state, with its failure_reason and exit_code.

        False when GitLab took neither.
        """
        self.trace.write("", is_end=True)
        self._is_done.set()
        self._thread.join()
        for attempt in range(_TRIES):
            if attempt:
                self.pause(2.0 ** (attempt - 1))
            if self._send_rest() and self._update(state, **ending) in {Result.OK, Result.ABORT}:
                return True
        return False

    def step(self) -> bool:
        """Send what is new, or a sign of life; False when the job is over for GitLab."""
        result = self._patch()
        if result is Result.OK and self.clock() - self._sent_at > _TOUCH_AFTER_S:
            result = self._update("running")
        if result is Result.ABORT:
            self.stops.end("canceled", reason="job_canceled")
        return result is not Result.ABORT

    def _watch(self) -> None:
        while not self._is_done.wait(self.interval_s) and self.step():
            pass

    def _send_rest(self) -> bool:
        """Whether GitLab has all of the log, or wants no more of it."""
        result = Result.OK
        while result is Result.OK and self._offset < self.trace.size:
            result = self._patch()
        return result in {Result.OK, Result.ABORT}

    def _patch(self) -> Result:
        content = self.trace.read(self._offset, _LARGEST_PATCH)
        if not content:
            return Result.OK
        reply = self.gitlab.patch_trace(self.job, content, self._offset)
        if reply.result is Result.OK:
            self._offset += len(content)
        elif reply.result is Result.MISMATCH:
            self._offset = int(reply.headers["Range"].partition("-")[2])  # of 0-<size>
        return self._heed(reply)

    def _update(self, state: str, **ending: str | int) -> Result:
        return self._heed(self.gitlab.update_job(self.job, state, self.trace.output, **ending))

    def _heed(self, reply: Reply) -> Result:
        if reply.result in {Result.OK, Result.MISMATCH}:
            self._sent_at = self.clock()
        interval_s = reply.headers.get("X-GitLab-Trace-Update-Interval")
        self.interval_s = float(interval_s or self.interval_s)
        if reply.job_status == "canceling":
            self.stops.cancel()
        return reply.result
