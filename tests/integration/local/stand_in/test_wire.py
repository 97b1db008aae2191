"""HTTP below `/api/v4/`: connections that stay, rate limits, servers that are gone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from local.stand_in.wire import Reply, Wire


class Server:
    """Answers with what it was told, in order; remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.asked: list[tuple[str, str, bytes, str]] = []  # method, path, body, peer
        self.closes = False
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def serve(self) -> None:
                body = self._body()
                peer = str(self.client_address[1])
                server.asked.append((self.command, self.path, body, peer))
                status, headers, content = server.answers.pop(0)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                self.close_connection = server.closes  # without saying so

            do_GET = do_POST = do_PUT = serve  # noqa: N815

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def log_message(self, format: str, *args: object) -> None:
                """Stay silent."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    threading.Thread(target=one.http.serve_forever, args=(0.02,), daemon=True).start()
    yield one
    one.http.shutdown()
    one.http.server_close()


def test_an_answer_has_status_headers_and_body(server: Server, wire: Wire) -> None:
    server.answers.append((202, {"Job-Status": "running"}, b"ok"))
    reply = wire.send("PUT", "jobs/1", body=b"{}", headers={"X-A": "b"})
    assert (reply.status, reply.text, reply.body) == (202, "202 Accepted", b"ok")
    assert reply.headers["job-status"] == "running"
    assert server.asked[0][:3] == ("PUT", "/api/v4/jobs/1", b"{}")


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    one = Wire(server.url)
    yield one
    one.close()


@pytest.mark.parametrize("ending", ["", "/", "/ci", "/gitlab"])
def test_the_address_is_cut_as_the_real_runner_cuts_it(ending: str, server: Server) -> None:
    server.answers.append((200, {}, b""))
    with closing(Wire(server.url + ending)) as wire:
        wire.send("GET", "x", headers={})
    prefix = "/gitlab" if ending == "/gitlab" else ""
    assert server.asked[0][1] == f"{prefix}/api/v4/x"


def test_a_connection_is_used_again(server: Server, wire: Wire) -> None:
    server.answers += [(200, {}, b"a"), (200, {}, b"b")]
    wire.send("GET", "x", headers={})
    wire.send("GET", "x", headers={})
    assert len({peer for *_, peer in server.asked}) == 1


def test_a_connection_the_server_closed_is_opened_anew(server: Server, wire: Wire) -> None:
    server.closes = True
    server.answers += [(200, {}, b"a"), (200, {}, b"b")]
    wire.send("GET", "x", headers={})
    assert wire.send("GET", "x", headers={}).body == b"b"


def test_a_callable_body_goes_in_chunks(server: Server, wire: Wire) -> None:
    server.answers.append((201, {}, b""))
    wire.send("POST", "x", body=lambda: iter([b"one", b"two"]), headers={})
    assert server.asked[0][2] == b"onetwo"


def test_nobody_there_is_an_answer_too(server: Server) -> None:
    server.http.server_close()
    reply = Wire(server.url).send("GET", "x", headers={})
    assert reply.status == -1
    assert "couldn't execute GET" in reply.text


def test_a_missing_certificate_file_is_no_crash() -> None:
    wire = Wire("https://127.0.0.1:1", tls_ca_file="/nowhere.pem")
    assert wire.send("GET", "x", headers={}).status == -1


def waiting(server: Server, waited: list[float]) -> Reply:
    """The answer to a request, the pauses before it noted and not made."""
    with closing(Wire(server.url, pause=waited.append)) as wire:
        return wire.send("GET", "x", headers={})


def test_a_rate_limit_that_says_when_it_ends_is_waited_for(server: Server) -> None:
    waited: list[float] = []
    reset = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    server.answers += [
        (429, {"Retry-After": "7"}, b""),
        (429, {"RateLimit-ResetTime": reset}, b""),
        (429, {"RateLimit-ResetTime": "soon"}, b""),
        (200, {}, b"at last"),
    ]
    assert waiting(server, waited).body == b"at last"
    assert waited[0] == 7
    assert 25 < waited[1] <= 30
    assert waited[2] == 60


def test_a_rate_limit_without_an_end_is_handed_back(server: Server) -> None:
    server.answers.append((429, {}, b""))
    waited: list[float] = []
    assert waiting(server, waited).status == 429
    assert waited == []


def test_after_five_tries_the_rate_limit_is_handed_back(server: Server) -> None:
    server.answers += [(429, {"Retry-After": "1"}, b"")] * 5
    waited: list[float] = []
    assert waiting(server, waited).status == 429
    assert waited == [1, 1, 1, 1]
