"""Each bad answer of the instance metadata, and none at all, is `Transient`."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ec2_runner.imds import Imds
from fleet.errors import Transient

TOKEN = (200, b"a-token")


@contextmanager
def answering(token: tuple[int, bytes], other: tuple[int, bytes]) -> Iterator[Imds]:
    """The client of a metadata server that always answers so; no status at all for 0."""

    class Answerer(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.answer(*token)

        def do_GET(self) -> None:
            self.answer(*other)

        def answer(self, status: int, body: bytes) -> None:
            if status:
                self.send_response(status)
                self.send_header("Content-Length", str(max(len(body), 2)))
                self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answerer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Imds(f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "token", [(404, b"{}"), (403, b"{}"), (401, b"{}"), (503, b"{}"), (0, b""), (0, b"junk\r\n")]
)
def test_a_refused_token_is_transient(token: tuple[int, bytes]) -> None:
    with answering(token, (404, b"{}")) as imds, pytest.raises(Transient):
        imds.spot_notice()


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"{}", b"null", b"\xff\xff", b"", b'{"action": "stop", "time": "soon"}', b"1"],
)
def test_an_unreadable_notice_is_transient(body: bytes) -> None:
    with answering(TOKEN, (200, body)) as imds:
        with pytest.raises(Transient):
            imds.spot_notice()
        with pytest.raises(Transient):
            imds.rebalance_at()


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_page_that_is_refused_is_transient(status: int) -> None:
    with answering(TOKEN, (status, b"{}")) as imds, pytest.raises(Transient):
        imds.spot_notice()


def test_no_server_is_transient() -> None:
    with pytest.raises(Transient):
        Imds("http://127.0.0.1:1").region()


def test_no_notice_is_none() -> None:
    with answering(TOKEN, (404, b"{}")) as imds:
        assert imds.spot_notice() is None
        assert imds.rebalance_at() is None
