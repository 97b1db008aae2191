"""A receiver on a local port that records deliveries."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

_DEADLINE_S = 10.0


@dataclass(frozen=True)
class Received:
    """One delivery."""

    headers: dict[str, str]  # names in lower case
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        """The body, parsed."""
        return dict(json.loads(self.raw))

    @property
    def summary(self) -> tuple[int, str]:
        """The job and its state."""
        return self.body["build_id"], self.body["build_status"]


class Receiver:
    """Answers every delivery with `status`, after `gate` is open."""

    def __init__(self) -> None:
        self.status = 200
        self.gate = threading.Event()
        self.gate.set()
        self.received: list[Received] = []
        self._changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.gate.wait(_DEADLINE_S)
                receiver.note(Received(headers, raw))
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                if receiver.status == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"

    def note(self, received: Received) -> None:
        """Record a delivery."""
        with self._changed:
            self.received.append(received)
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[list[Received]], bool]) -> list[Received]:
        """The deliveries once the condition holds; fails after ten seconds."""
        with self._changed:
            held = self._changed.wait_for(lambda: condition(self.received), _DEADLINE_S)
            assert held, f"received only {[r.body for r in self.received]}"
            return list(self.received)

    def wait_for_count(self, count: int) -> list[Received]:
        """The deliveries, at least `count`."""
        return self.wait_for(lambda received: len(received) >= count)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def wait_until(condition: Callable[[], bool], *, deadline_s: float = _DEADLINE_S) -> None:
    """Wait until the condition holds; fails after `deadline_s`."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
