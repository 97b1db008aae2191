"""A certificate authority of one's own, a TLS server that it vouches for, and a small proxy."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer

NEW_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"


@dataclass(frozen=True, kw_only=True)
class PrivateCa:
    """Files below a folder: the authority, and a server's certificate for 127.0.0.1."""

    authority: Path
    key: Path  # of the authority
    server: Path  # certificate and key together

    @property
    def pem(self) -> str:
        """What a fleet trusts."""
        return self.authority.read_text()


def make_ca(folder: Path, *, days: int = 30) -> PrivateCa:
    """Made by openssl; with `days` below one it has expired."""
    ca = PrivateCa(authority=folder / "ca.pem", key=folder / "ca.key", server=folder / "server.pem")
    end = "20200101000000Z" if days < 1 else "20991231000000Z"
    _openssl(folder, f"req -x509 {NEW_KEY} -keyout ca.key -out ca.csr.pem")
    (folder / "ca.cnf").write_text(
        "[ca]\ndefault_ca=d\n[d]\ndatabase=index\nserial=serial\nnew_certs_dir=.\n"
        "default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n"
        "[v3]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"
        "subjectKeyIdentifier=hash\n[leaf]\nsubjectAltName=IP:127.0.0.1,DNS:gitlab.example.com\n"
    )
    (folder / "index").touch()
    (folder / "serial").write_text("01\n")
    dates = f"-startdate 20190101000000Z -enddate {end} -batch -notext"
    _openssl(folder, "req -new -key ca.key -out ca.csr")
    of_ca = "ca -config ca.cnf -selfsign -keyfile ca.key -extensions v3 -in ca.csr -out ca.pem"
    _openssl(folder, f"{of_ca} {dates}")
    _openssl(folder, f"req -new {NEW_KEY} -keyout leaf.key -out leaf.csr", "leaf")
    of_leaf = "ca -config ca.cnf -cert ca.pem -keyfile ca.key -extensions leaf"
    _openssl(folder, f"{of_leaf} -in leaf.csr -out leaf.pem {dates}")
    ca.server.write_text((folder / "leaf.pem").read_text() + (folder / "leaf.key").read_text())
    return ca


def _openssl(folder: Path, words: str, name: str = "Private CA") -> None:
    subject = ["-subj", f"/CN={name}"] if words.startswith("req") else []
    subprocess.run(
        ["openssl", *words.split(), *subject],
        cwd=folder,
        check=True,
        capture_output=True,
    )


@dataclass
class Passed:
    """What went over a door: where to, for a proxy."""

    url: str = ""
    connects: list[str] = field(default_factory=list)


@contextmanager
def tls_door(target: str, ca: PrivateCa) -> Iterator[str]:
    """A TLS address of a plain one, `http://host:port`; the certificate is the authority's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca.server)
    host, port = target.removeprefix("http://").split(":")

    class Door(StreamRequestHandler):
        def handle(self) -> None:
            with (
                suppress(OSError),
                context.wrap_socket(self.request, server_side=True) as inner,
                closing(socket.create_connection((host, int(port)))) as there,
            ):
                _both_ways(inner, there)

    with _serving(Door) as port_of_ours:
        yield f"https://127.0.0.1:{port_of_ours}"


@contextmanager
def small_proxy(*, leads_to: str = "") -> Iterator[Passed]:
    """An HTTP proxy that knows CONNECT only; wherever it is asked for, to `leads_to` if given."""
    passed = Passed()

    class Proxy(StreamRequestHandler):
        def handle(self) -> None:
            verb, where, _ = self.rfile.readline().decode().split()
            while self.rfile.readline().strip():
                pass
            passed.connects.append(f"{verb} {where}")
            host, port = (leads_to.removeprefix("https://") or where).rsplit(":", 1)
            with suppress(OSError), closing(socket.create_connection((host, int(port)))) as there:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
                _both_ways(self.connection, there)

    with _serving(Proxy) as port:
        passed.url = f"http://127.0.0.1:{port}"
        yield passed


@contextmanager
def _serving(handler: type[StreamRequestHandler]) -> Iterator[int]:
    ThreadingTCPServer.allow_reuse_address = True
    with ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def _both_ways(near: socket.socket, far: socket.socket) -> None:
    """Until either side ends."""
    back = threading.Thread(target=_pour, args=(far, near), daemon=True)
    back.start()
    _pour(near, far)
    back.join()


def _pour(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (sink, source):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
