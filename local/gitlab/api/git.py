"""Git over smart HTTP, served by `git http-backend`; a push starts pipelines."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import IO

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from local.gitlab import git_protocol
from local.gitlab.api.login import NotAdmitted, basic_login
from local.gitlab.job_tokens import reading_is_allowed, user_may_read
from local.gitlab.merge_requests import note_push
from local.gitlab.model import Job, Project, Role, User
from local.gitlab.repository import git_environment, read_refs
from local.gitlab.states import Status
from local.gitlab.trigger import PipelineStart, changed_refs, push_report, start_pipeline
from local.gitlab.world import GitLabWorld

_CHUNK = 64 * 1024
_SPOOL_BYTES = 1024 * 1024
_READ_SCOPES = frozenset({"api", "read_api", "read_repository", "write_repository"})
_WRITE_SCOPES = frozenset({"api", "write_repository"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _GitCaller:
    """The caller: a user, a job, or neither before a login."""

    user: User | None = None
    job: Job | None = None
    scopes: frozenset[str] = frozenset()


def git_routes(world: GitLabWorld) -> list[Route]:
    """The three addresses of smart HTTP for every project."""
    server = _GitServer(world)
    base = "/{path:path}.git"
    return [
        Route(f"{base}/info/refs", server.advertise, methods=["GET"]),
        Route(f"{base}/git-upload-pack", server.fetch, methods=["POST"]),
        Route(f"{base}/git-receive-pack", server.push, methods=["POST"]),
        Route("/{path:path}/info/refs", _add_suffix, methods=["GET"]),
    ]


async def _add_suffix(request: Request) -> Response:
    """Send a clone of `…/demo` to `…/demo.git`, as GitLab does."""
    path = f"/{request.path_params['path']}.git/info/refs"
    return RedirectResponse(f"{path}?{request.url.query}", status_code=301)


class _GitServer:
    """The handlers of the addresses; one push at a time to each project."""

    def __init__(self, world: GitLabWorld) -> None:
        self._world = world
        self._pushing: dict[int, asyncio.Lock] = {}

    async def advertise(self, request: Request) -> Response:
        """GET info/refs: the refs for a fetch or a push."""
        writes = request.query_params.get("service") == "git-receive-pack"
        project, _ = self._admit(request, writes=writes)
        with tempfile.TemporaryFile() as nothing:
            return await _backend(request, project, "info/refs", nothing)

    async def fetch(self, request: Request) -> Response:
        """POST git-upload-pack: send objects."""
        project, _ = self._admit(request, writes=False)
        with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as body:
            await _collect(request, body)
            return await _backend(request, project, "git-upload-pack", body)

    async def push(self, request: Request) -> Response:
        """POST git-receive-pack: take objects, then start pipelines for the changed refs."""
        project, caller = self._admit(request, writes=True)
        lock = self._pushing.setdefault(project.id, asyncio.Lock())
        with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as body:
            await _collect(request, body)
            command = git_protocol.read_push(body)
            async with lock:
                before = dict(project.refs)
                answer = await _backend(request, project, "git-receive-pack", body)
                reply = await _body(answer)
                project.refs = await asyncio.to_thread(read_refs, project.repository)
                lines = await self._start_pipelines(project, caller, before, command.options)
        text = git_protocol.add_remarks(reply, lines) if command.has_side_band else reply
        return Response(
            text, status_code=answer.status_code, headers=_without_length(answer.headers)
        )

    async def _start_pipelines(
        self,
        project: Project,
        caller: _GitCaller,
        before: Mapping[str, str],
        options: tuple[str, ...],
    ) -> list[str]:
        if "ci.skip" in options or caller.user is None:
            return []
        lines: list[str] = []
        for change in changed_refs(before, project.refs):
            start = PipelineStart(project=project, change=change, source="push", user=caller.user)
            first = await start_pipeline(self._world, start)
            started = [] if first is None else [first]
            if not change.is_tag:
                started += await note_push(
                    self._world, project, change.short_name, user=caller.user
                )
            for pipeline in started:
                lines += push_report(pipeline, self._world.base_url)
        return lines

    def _admit(self, request: Request, *, writes: bool) -> tuple[Project, _GitCaller]:
        """The project and the caller. `NotAdmitted` with 401 first, so that git sends its login."""
        caller = self._caller(request)
        project = self._world.accounts.project(request.path_params["path"])
        is_open = project is not None and project.is_public and not writes
        if caller is None and not is_open:
            raise NotAdmitted(401, "HTTP Basic: Access denied")
        if project is None:
            raise NotAdmitted(404, "The project you were looking for could not be found")
        if caller is not None:
            _check(project, caller, writes=writes)
        return project, caller or _GitCaller()

    def _caller(self, request: Request) -> _GitCaller | None:
        login = basic_login(request)
        if login is None:
            return None
        name, password = login
        job = self._world.ci.job_by_token(password)
        is_alive = job is not None and job.status in (Status.RUNNING, Status.CANCELING)
        if is_alive and name == "gitlab-ci-token":
            return _GitCaller(job=job)
        token = self._world.accounts.tokens.get(password)
        if token is None:
            raise NotAdmitted(401, "HTTP Basic: Access denied")
        return _GitCaller(user=token.user, scopes=token.scopes)


def _check(project: Project, caller: _GitCaller, *, writes: bool) -> None:
    if caller.user is None:
        assert caller.job is not None
        _check_job(project, caller.job, writes=writes)
        return
    role = Role.OWNER if caller.user.is_admin else project.role_of(caller.user)
    if role is Role.NONE and not project.is_public:
        raise NotAdmitted(404, "The project you were looking for could not be found")
    if not caller.scopes & (_WRITE_SCOPES if writes else _READ_SCOPES):
        raise NotAdmitted(403, "The token lacks the scope for this")
    if writes and role < Role.DEVELOPER:
        raise NotAdmitted(403, "You are not allowed to push code to this project")


def _check_job(project: Project, job: Job, *, writes: bool) -> None:
    """Check a job token. Raises `NotAdmitted` with GitLab's words."""
    if writes:
        raise NotAdmitted(403, "You are not allowed to push code to this project with a job token")
    if not reading_is_allowed(job, project):
        source, target = job.project.path, project.path
        raise NotAdmitted(
            403, f"Authentication by CI/CD job token not allowed from {source} to {target}."
        )
    if not user_may_read(job, project):
        raise NotAdmitted(404, "The project you were looking for could not be found")


async def _collect(request: Request, target: IO[bytes]) -> None:
    async for chunk in request.stream():
        target.write(chunk)


async def _backend(request: Request, project: Project, action: str, body: IO[bytes]) -> Response:
    """Run `git http-backend` on the body and hand its answer on as it comes."""
    size = body.seek(0, os.SEEK_END)
    body.seek(0)
    process = await asyncio.create_subprocess_exec(
        "git",
        "http-backend",
        stdin=body,
        stdout=asyncio.subprocess.PIPE,
        env=_cgi_environment(request, project, action, size),
    )
    assert process.stdout is not None
    status, headers = 200, {}
    while line := (await process.stdout.readline()).strip():
        name, _, value = line.decode("latin-1").partition(":")
        if name.lower() == "status":
            status = int(value.split()[0])
        else:
            headers[name] = value.strip()
    return StreamingResponse(_rest(process), status_code=status, headers=headers)


async def _rest(process: asyncio.subprocess.Process) -> AsyncIterator[bytes]:
    assert process.stdout is not None
    while chunk := await process.stdout.read(_CHUNK):
        yield chunk
    await process.wait()


async def _body(answer: Response) -> bytes:
    assert isinstance(answer, StreamingResponse)
    parts = [bytes(part) async for part in answer.body_iterator if not isinstance(part, str)]
    return b"".join(parts)


def _without_length(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() != "content-length"}


def _cgi_environment(request: Request, project: Project, action: str, size: int) -> dict[str, str]:
    environment = {
        **git_environment(),
        "GIT_PROJECT_ROOT": str(project.repository.parent),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": f"/{project.repository.name}/{action}",
        "REQUEST_METHOD": request.method,
        "QUERY_STRING": request.url.query,
        "CONTENT_TYPE": request.headers.get("content-type", ""),
        "CONTENT_LENGTH": str(size),
        "REMOTE_USER": "gitlab",
        "REMOTE_ADDR": "127.0.0.1",
    }
    if encoding := request.headers.get("content-encoding"):
        environment["HTTP_CONTENT_ENCODING"] = encoding
    if protocol := request.headers.get("git-protocol"):
        environment["GIT_PROTOCOL"] = protocol
    return environment
