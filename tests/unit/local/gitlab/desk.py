"""The API of the simulated GitLab without a socket: calls go into the application."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx

from local.gitlab.api.app import create_app
from local.gitlab.ci.types import JobSpec, PipelineSpec
from local.gitlab.model import NO_SHA, Job, Pipeline, PipelineRequest, Project, Role, Runner, User
from local.gitlab.options import Options
from local.gitlab.world import GitLabWorld
from tests.unit.local.gitlab.small_gitlab import commit, job_spec

BASE = "http://gitlab.example.com"
_T = TypeVar("_T")


class Desk:
    """One instance with a project `acme/demo`, and calls to it; a context manager."""

    def __init__(self, folder: Path, options: Options | None = None) -> None:
        self.world = GitLabWorld(folder, options=options or Options(), base_url=BASE)
        self._loop = asyncio.Runner()
        self._http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=create_app(self.world)), base_url=BASE
        )
        accounts = self.world.accounts
        self.group = accounts.add_group("acme", name="Acme", parent=None, owner=self.world.root)
        self.project = self.add_project("demo")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run(self._http.aclose())
        self._loop.run(self.world.dispatcher.close())
        self._loop.close()

    def add_project(self, path: str) -> Project:
        """A project of the group."""
        at = self.world.clock.now()
        return self.world.accounts.add_project(path, name=path.title(), group=self.group, at=at)

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """The result of a coroutine on the loop of the instance."""
        return self._loop.run(work)

    def raw(self, method: str, path: str, **rest: Any) -> httpx.Response:
        """A call without a token."""
        return self._loop.run(self._http.request(method, f"/api/v4{path}", **rest))

    def page(self, path: str, **rest: Any) -> httpx.Response:
        """A GET outside the API."""
        return self._loop.run(self._http.get(path, **rest))

    def call(self, method: str, path: str, *, token: str = "", **rest: Any) -> httpx.Response:
        """A call with a token, by default the administrator's."""
        headers = {"PRIVATE-TOKEN": token or self.world.root_token}
        return self.raw(method, path, headers=headers, **rest)

    def answer(self, method: str, path: str, **rest: Any) -> Any:
        """The JSON of a call that must succeed."""
        reply = self.call(method, path, **rest)
        assert reply.is_success, reply.text
        return reply.json()

    def person(self, role: Role | None = None, *scopes: str) -> tuple[User, str]:
        """A new user with a role in the project, and a token."""
        accounts = self.world.accounts
        user = accounts.add_user(f"user{len(accounts.users)}", name="Dana Roe")
        if role is not None:
            self.project.members[user.id] = role
        scope = frozenset(scopes or ("api",))
        return user, accounts.add_token(user, name="t", scopes=scope).token

    def register(self, *tags: str, **rest: Any) -> Runner:
        """A runner of the instance."""
        wanted = {"runner_type": "instance_type", "creator": self.world.root, **rest}
        new = Runner(tags=frozenset(tags), created_at=self.world.clock.now(), **wanted)
        return self.world.runners.add(new)

    def start(self, *jobs: JobSpec) -> Pipeline:
        """A pipeline of these jobs; without any, of a job `unit`."""
        specs = jobs or (job_spec("unit"),)

        async def begin() -> Pipeline:
            request = PipelineRequest(
                project=self.project,
                ref="main",
                is_tag=False,
                commit=commit(),
                before_sha=NO_SHA,
                source="push",
                user=self.world.root,
            )
            stages = tuple(dict.fromkeys(spec.stage for spec in specs))
            return self.world.ci.add_pipeline(request, PipelineSpec(stages=stages, jobs=specs))

        return self._loop.run(begin())

    def ask(self, runner: Runner, **rest: Any) -> httpx.Response:
        """POST /jobs/request."""
        body = {"token": runner.token, "system_id": "s_0123456789ab", "info": {}, **rest}
        return self.raw("POST", "/jobs/request", json=body)

    def running(self, *jobs: JobSpec) -> Job:
        """The first job of a new pipeline, at a runner."""
        pipeline = self.start(*jobs)
        answer = self.ask(self.register())
        assert answer.status_code == 201, answer.text
        return pipeline.jobs[answer.json()["id"]]

    def report(self, job: Job, state: str, **rest: Any) -> httpx.Response:
        """PUT /jobs/:id with the token of the job."""
        body = {"token": job.token, "state": state, **rest}
        return self.raw("PUT", f"/jobs/{job.id}", json=body)

    def append(self, job: Job, text: bytes, span: str | None, token: str = "") -> httpx.Response:
        """PATCH /jobs/:id/trace; `span` is the `Content-Range`, None for no header."""
        headers = {"JOB-TOKEN": token or job.token, "Content-Type": "text/plain"}
        if span is not None:
            headers["Content-Range"] = span
        return self.raw("PATCH", f"/jobs/{job.id}/trace", content=text, headers=headers)
