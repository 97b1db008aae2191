"""A GitLab that answers from a script over real HTTP, and remembers what it was asked."""

import json
import threading
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True, kw_only=True)
class GitLabRequest:
    verb: str
    path: str
    query: Mapping[str, list[str]]
    token: str | None
    body: Any


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer; the last one of a path is given again and again."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


# What GitLab's API itself says with these statuses.
SAID = {
    400: "400 Bad request",
    401: "401 Unauthorized",
    403: "403 Forbidden",
    404: "404 Not found",
}


class FakeGitLab:
    """The script by verb and path, and the requests so far. `url` is where it listens."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[GitLabRequest] = []
        self.always: Answer | None = None  # to whatever the script has no answer to
        self._script: dict[tuple[str, str], deque[Answer]] = defaultdict(deque)

    def forget(self) -> None:
        """No script, and no requests so far."""
        self.requests.clear()
        self._script.clear()
        self.always = None

    def answers(
        self,
        verb: str,
        path: str,
        body: Any = None,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """The next answer to `verb` on `path` (below /api/v4)."""
        answer = Answer(status=status, body=body, headers=headers or {})
        self._script[verb, path].append(answer)

    def refuses(self, verb: str, path: str, status: int) -> None:
        """The next answer to `verb` on `path` is no, in GitLab's own words."""
        words = SAID.get(status, "GitLab's words")
        self.answers(verb, path, {"message": words}, status=status)

    def pages(self, path: str, *pages: Any) -> None:
        """The next answers to `GET path`: a list, page after page."""
        for page in pages[:-1]:
            self.answers("GET", path, page, headers=self.following(path))
        self.answers("GET", path, pages[-1])

    def following(self, path: str) -> dict[str, str]:
        """The header by which GitLab says that a list goes on."""
        return {"Link": f'<{self.url}/api/v4{path}?page=2>; rel="next"'}

    def answer(self, request: GitLabRequest) -> Answer:
        """The answer to a request: 404 as GitLab says it where the script has none."""
        self.requests.append(request)
        answers = self._script[request.verb, request.path]
        if not answers and self.always:
            return self.always
        if not answers:
            return Answer(status=404, body={"message": SAID[404]})
        return answers.popleft() if len(answers) > 1 else answers[0]


@contextmanager
def fake_gitlab() -> Iterator[FakeGitLab]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet: else each answer waits for an ACK

        def do_GET(self) -> None:
            split = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(length)
            answer = fake.answer(
                GitLabRequest(
                    verb=self.command,
                    path=split.path.removeprefix("/api/v4"),
                    query=parse_qs(split.query),
                    token=self.headers.get("PRIVATE-TOKEN"),
                    body=json.loads(raw) if raw else None,
                )
            )
            is_json = not isinstance(answer.body, str)
            text = json.dumps(answer.body) if is_json else answer.body
            content = text.encode() if answer.status != 204 else b""
            self.send_response(answer.status)
            if "Content-Type" not in answer.headers:
                self.send_header("Content-Type", "application/json" if is_json else "text/html")
            self.send_header("Content-Length", str(len(content)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        fake = FakeGitLab(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()
