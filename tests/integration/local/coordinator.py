"""A GitLab for runners only: hands out jobs, keeps the requests, answers as the test says."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request."""

    kind: str  # request | trace | update | touch | upload | download | git
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    at: float  # seconds on the monotonic clock

    @property
    def fields(self) -> dict[str, Any]:
        """The body as JSON."""
        read: dict[str, Any] = json.loads(self.body)
        return read


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer to one request instead of the usual."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Coordinator:
    """The server and its requests; use it as a context manager."""

    def __init__(self, *, repositories: Path | None = None) -> None:
        self.requests: list[Request] = []
        self.traces: dict[str, bytes] = {}
        self.uploads: dict[str, bytes] = {}  # by job id, the multipart body
        self.downloads: dict[str, bytes] = {}  # by job id
        self.job_status: str | None = None  # sent as Job-Status with trace and update
        self.trace_interval_s: int | None = 1
        self._repositories = repositories
        self._jobs: deque[dict[str, Any]] = deque()
        self._answers: dict[str, deque[Answer]] = {}
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Coordinator:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def offer(self, job: dict[str, Any]) -> None:
        """Hand this job out at the next request."""
        self._jobs.append(job)

    def answer_next(self, kind: str, *answers: Answer) -> None:
        """Give these answers to the next requests of that kind, one each."""
        self._answers.setdefault(kind, deque()).extend(answers)

    def requests_of(self, kind: str) -> list[Request]:
        """The requests of one kind, oldest first."""
        return [request for request in self.requests if request.kind == kind]

    def wait_until(self, claim: Callable[[], bool], *, within_s: float = 60) -> None:
        """Return once the claim holds. Raises `AssertionError` when it does not in time."""
        with self._changed:
            if not self._changed.wait_for(claim, timeout=within_s):
                raise AssertionError(f"missing after {within_s} s: {self.requests}")

    def take(self, request: Request) -> Answer:
        """Keep a request; its answer."""
        with self._changed:
            self.requests.append(request)
            answers = self._answers.get(request.kind)
            answer = answers.popleft() if answers else self._usual(request)
            self._changed.notify_all()
        return answer

    def _usual(self, request: Request) -> Answer:
        headers = {"Job-Status": self.job_status} if self.job_status else {}
        if self.trace_interval_s is not None:
            headers["X-GitLab-Trace-Update-Interval"] = str(self.trace_interval_s)
        job_id = _job_id(request.target)
        if request.kind == "request":
            return self._hand_out()
        if request.kind == "trace":
            return self._append(job_id, request, headers)
        if request.kind == "upload":
            self.uploads[job_id] = request.body
            return Answer(status=201, headers=JSON, body=b"{}")
        if request.kind == "download":
            archive = self.downloads.get(job_id)
            return Answer(status=404) if archive is None else Answer(status=200, body=archive)
        return Answer(status=200, headers=JSON | headers, body=b"200")

    def _hand_out(self) -> Answer:
        if not self._jobs:
            return Answer(status=204)
        return Answer(status=201, headers=JSON, body=json.dumps(self._jobs.popleft()).encode())

    def _append(self, job_id: str, request: Request, headers: dict[str, str]) -> Answer:
        stored = self.traces.get(job_id, b"")
        start, _, end = request.headers["content-range"].partition("-")
        assert int(end) - int(start) + 1 == len(request.body)
        if int(start) != len(stored):
            return Answer(status=416, headers=headers | {"Range": f"0-{len(stored)}"})
        self.traces[job_id] = stored + request.body
        return Answer(status=202, headers=headers | {"Range": f"0-{len(self.traces[job_id])}"})

    def git(self, request: Request) -> Answer:
        """Serve a repository, with credentials only."""
        self.take(request)
        if "authorization" not in request.headers:
            return Answer(status=401, headers={"WWW-Authenticate": 'Basic realm="git"'})
        target = urlsplit(request.target)
        environ = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self._repositories),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": target.path,
            "QUERY_STRING": target.query,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(request.body)),
            "HTTP_CONTENT_ENCODING": request.headers.get("content-encoding", ""),
            "GIT_PROTOCOL": request.headers.get("git-protocol", ""),
        }
        done = subprocess.run(
            ["git", "http-backend"],
            input=request.body,
            env=environ,
            capture_output=True,
            check=True,
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        return Answer(status=int(lines.pop("Status", "200")[:3]), headers=lines, body=body)


def _job_id(target: str) -> str:
    parts = urlsplit(target).path.split("/")
    return parts[4] if len(parts) > 4 else ""


def _kind(method: str, target: str, body: bytes) -> str:
    path = urlsplit(target).path
    if ".git/" in path:
        return "git"
    if path.endswith("/trace"):
        return "trace"
    if path.endswith("/artifacts"):
        return "upload" if method == "POST" else "download"
    if method == "PUT":
        return "touch" if b'"state":"running"' in body.replace(b" ", b"") else "update"
    return "request"


def _handler(coordinator: Coordinator) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self._body()
            request = Request(
                kind=_kind(self.command, self.path, body),
                method=self.command,
                target=self.path,
                headers={name.lower(): value for name, value in self.headers.items()},
                body=body,
                at=time.monotonic(),
            )
            is_git = request.kind == "git"
            answer = coordinator.git(request) if is_git else coordinator.take(request)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.status != 204:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

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
            """Stay silent: the tests read `requests`."""

    return Handler


def make_job(job_id: int, *script: str, **changes: Any) -> dict[str, Any]:
    """A job as GitLab sends it, without sources unless `git_info` is given."""
    without_git = [] if "git_info" in changes else [{"key": "GIT_STRATEGY", "value": "none"}]
    variables = [
        {"key": "CI_JOB_ID", "value": str(job_id), "public": True, "masked": False},
        {"key": "CI_PROJECT_PATH", "value": "acme/demo", "public": True, "masked": False},
        *without_git,
        *changes.pop("variables", []),
    ]
    steps = [_step("script", script, "on_success")]
    if after := changes.pop("after_script", None):
        steps.append(_step("after_script", after, "always"))
    reasons = [
        "unknown_failure",
        "script_failure",
        "runner_system_failure",
        "job_execution_timeout",
        "job_canceled",
    ]
    return {
        "id": job_id,
        "token": f"glcbt-64_{job_id:020d}",
        "allow_git_fetch": True,
        "job_info": {
            "name": "unit",
            "stage": "test",
            "pipeline_id": 55,
            "project_id": 7,
            "project_name": "demo",
            "project_full_path": "acme/demo",
            "time_in_queue_seconds": 1,
            "project_jobs_running_on_instance_runners_count": "0",
        },
        "git_info": {
            "repo_url": "http://gitlab-ci-token:x@127.0.0.1:1/acme/demo.git",
            "ref": "main",
            "sha": "0123456789abcdef0123456789abcdef01234567",
            "before_sha": "0" * 40,
            "ref_type": "branch",
            "refspecs": [],
            "depth": 0,
        },
        "runner_info": {"timeout": 600},
        "variables": variables,
        "steps": steps,
        "image": None,
        "services": [],
        "artifacts": None,
        "cache": [],
        "credentials": [],
        "dependencies": [],
        "features": {"trace_sections": True, "failure_reasons": reasons},
        **changes,
    }


def _step(name: str, script: tuple[str, ...], when: str) -> dict[str, Any]:
    return {
        "name": name,
        "script": list(script),
        "timeout": 600,
        "when": when,
        "allow_failure": name == "after_script",
    }
