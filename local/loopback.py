"""A small HTTP server on the loopback interface; each request has a thread of its own."""

from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from adapters.guest.background import Background

_LOOK_EVERY_S = 0.05  # whether it is to stop


class Answerer(BaseHTTPRequestHandler):
    """One request; nothing of it is written to stderr."""

    def answer(self, status: int, body: bytes, kind: str) -> None:
        """Answer with a body of the content type `kind`; a caller that is gone is no error."""
        with suppress(ConnectionError):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class LoopbackServer(Background):
    """Has its free port from the start, so that `url` is known; answers while it is a context."""

    def __init__(self, answerer: type[Answerer], *, host: str = "127.0.0.1") -> None:
        self._host = host
        self._server = ThreadingHTTPServer((host, 0), answerer)
        super().__init__(partial(self._server.serve_forever, _LOOK_EVERY_S))

    @property
    def url(self) -> str:
        """Where it answers, without a path."""
        return f"http://{self._host}:{self._server.server_port}"

    def end(self) -> None:
        """Take no more requests; those under way go on in threads of their own."""
        super().end()
        self._server.shutdown()
        self._server.server_close()
