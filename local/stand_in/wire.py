"""HTTP to GitLab over connections that stay open."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

_TIMEOUT_S = 600  # long enough for a long poll and a slow upload
_RATE_LIMIT_TRIES = 5
_RATE_LIMIT_FALLBACK_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer; status -1 when there was none, with the cause as `reason`."""

    status: int
    reason: str = ""
    headers: Mapping[str, str]  # names in lower case
    body: bytes = b""

    @property
    def text(self) -> str:
        """Such as `202 Accepted`, or what went wrong on the way."""
        return f"{self.status} {self.reason}" if self.status > 0 else self.reason


class Wire:
    """Sends requests to one GitLab; safe to use from several threads."""

    def __init__(
        self, url: str, *, tls_ca_file: str = "", pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._base = urlsplit(url.rstrip("/").removesuffix("/ci"))
        self._tls_ca_file = tls_ca_file
        self._pause = pause
        self._idle: list[http.client.HTTPConnection] = []  # open and not in use

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            self._idle.pop().close()

    def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | Callable[[], Iterable[bytes]] = b"",
        headers: Mapping[str, str],
    ) -> Reply:
        """One request below `/api/v4/`; a callable body is sent in chunks.

        A rate limit that says when it ends is waited for, five times at most.
        """
        request = _Request(method, f"{self._base.path}/api/v4/{path}", body, headers)
        for _ in range(_RATE_LIMIT_TRIES - 1):
            reply = self._once(request)
            wait_s = _rate_limited_for_s(reply)
            if wait_s is None:
                return reply
            self._pause(wait_s)
        return self._once(request)

    def _once(self, request: _Request) -> Reply:
        if self._idle:
            try:
                return self._exchange(self._idle.pop(), request)
            except (http.client.HTTPException, OSError):
                self.close()  # the server has closed what lay idle; the others as well, then
        try:
            return self._exchange(self._open(), request)
        except (http.client.HTTPException, OSError) as exc:
            return Reply(status=-1, reason=f"couldn't execute {request.method}: {exc}", headers={})

    def _exchange(self, connection: http.client.HTTPConnection, request: _Request) -> Reply:
        try:
            reply = request.over(connection)
        except (http.client.HTTPException, OSError):
            connection.close()
            raise
        self._idle.append(connection)
        return reply

    def _open(self) -> http.client.HTTPConnection:
        host, port = self._base.hostname or "", self._base.port
        if self._base.scheme != "https":
            return http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
        import ssl  # noqa: PLC0415 - costs time at start that plain HTTP need not pay

        context = ssl.create_default_context(cafile=self._tls_ca_file or None)
        return http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=context)


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    target: str
    body: bytes | Callable[[], Iterable[bytes]]
    headers: Mapping[str, str]

    def over(self, connection: http.client.HTTPConnection) -> Reply:
        headers = dict(self.headers)
        if callable(self.body):
            headers["Transfer-Encoding"] = "chunked"
            connection.request(self.method, self.target, self.body(), headers, encode_chunked=True)
        else:
            connection.request(self.method, self.target, self.body or None, headers)
        response = connection.getresponse()
        return Reply(
            status=response.status,
            reason=response.reason,
            headers={name.lower(): value for name, value in response.getheaders()},
            body=response.read(),
        )


def _rate_limited_for_s(reply: Reply) -> float | None:
    """Seconds to wait before trying again, or None when that is not asked for."""
    if reply.status != 429:
        return None
    retry_after = reply.headers.get("retry-after", "")
    if retry_after.isdigit():
        return float(retry_after)
    reset = reply.headers.get("ratelimit-resettime")
    if not reset:
        return None
    try:
        return max(0.0, parsedate_to_datetime(reset).timestamp() - time.time())
    except ValueError:
        return _RATE_LIMIT_FALLBACK_S
