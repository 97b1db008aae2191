"""As much of S3 as a cache needs: objects are put, asked for, and kept by path."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

_MISSING = b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>"


class ObjectStore:
    """The server and its objects, `/<bucket>/<key>` each; use it as a context manager."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self.objects))
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> ObjectStore:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(objects: dict[str, bytes]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        @property
        def _name(self) -> str:
            return unquote(urlsplit(self.path).path)

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if "aws-chunked" in self.headers.get("Content-Encoding", ""):
                body = _unchunked(body)
            objects[self._name] = body
            self._answer(200, b"")

        def do_GET(self) -> None:
            content = objects.get(self._name)
            self._answer(404 if content is None else 200, _MISSING if content is None else content)

        do_HEAD = do_GET  # noqa: N815

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("ETag", '"1"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent: the tests read `objects`."""

    return Handler


def _unchunked(body: bytes) -> bytes:
    """The content of an upload whose chunks are framed inside the body."""
    content, rest = b"", body
    while rest:
        head, _, rest = rest.partition(b"\r\n")
        size = int(head.partition(b";")[0] or b"0", 16)
        if not size:
            break
        content, rest = content + rest[:size], rest[size + 2 :]
    return content
