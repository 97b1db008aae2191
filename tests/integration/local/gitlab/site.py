"""Shortcuts to a running simulator."""

import subprocess
import textwrap
from pathlib import Path
from typing import Any

import gitlab
import httpx
from gitlab.v4.objects import Project

from local.gitlab.ci.file import read_pipeline
from local.gitlab.model import NO_SHA, PipelineRequest
from local.gitlab.repository import git_environment
from local.gitlab.seed import SeededProject, create_project, push_files
from local.gitlab.server import SimulatorServer
from local.gitlab.states import Status
from local.gitlab.variables import pipeline_variables
from local.gitlab.world import GitLabWorld
from tests.unit.local.gitlab.small_gitlab import commit

ONE_JOB = """
    unit:
      tags: [ec2]
      script: [make test]
"""


class Site:
    """One simulator, its python-gitlab client, and shortcuts."""

    def __init__(self, server: SimulatorServer, client: gitlab.Gitlab) -> None:
        self.server = server
        self.client = client

    def seed(self, ci: str = ONE_JOB, *, path: str = "acme/platform/demo") -> SeededProject:
        """A project whose CI file is `ci` (indented); its pipeline has started."""
        files = {".gitlab-ci.yml": textwrap.dedent(ci), "README.md": "# Demo\n"}
        return create_project(self.server.url, self.server.root_token, path, files)

    def start(self, ci: str = ONE_JOB, *, path: str = "acme/platform/demo") -> SeededProject:
        """As `seed`, but without git, which is quicker."""
        *groups, name = path.split("/")

        def begin(world: GitLabWorld) -> int:
            group, at, accounts = None, world.clock.now(), world.accounts
            for depth, part in enumerate(groups, start=1):
                known = accounts.group("/".join(groups[:depth]))
                group = known or accounts.add_group(part, name=part, parent=group, owner=world.root)
            assert group is not None
            project = accounts.project(path) or accounts.add_project(
                name, name=name, group=group, at=at
            )
            request = PipelineRequest(
                project=project,
                ref="main",
                is_tag=False,
                commit=commit(),
                before_sha=NO_SHA,
                source="push",
                user=world.root,
            )
            variables = pipeline_variables(request, world.instance)
            world.ci.add_pipeline(request, read_pipeline(textwrap.dedent(ci), variables=variables))
            return project.id

        return SeededProject(id=self.server.ask(begin), clone_url="")

    def push(self, seeded: SeededProject, ci: str, **rest: Any) -> str:
        """Push another CI file; the sha."""
        files = {".gitlab-ci.yml": textwrap.dedent(ci)}
        return push_files(seeded.clone_url, files, **{"message": "Change the CI file", **rest})

    def project(self, seeded: SeededProject) -> Project:
        """The project as python-gitlab sees it."""
        return self.client.projects.get(seeded.id)

    def register(self, *tags: str, **rest: Any) -> str:
        """The token of a new instance runner."""
        body = {"runner_type": "instance_type", "tag_list": list(tags), **rest}
        answer = self.client.http_post("/user/runners", post_data=body)
        assert isinstance(answer, dict)
        return str(answer["token"])

    def person(self, username: str, *scopes: str) -> tuple[int, str]:
        """A new user's id, and a token with these scopes."""
        user = self.client.users.create(
            {"username": username, "name": username.title(), "email": f"{username}@example.com"}
        )
        token = self.client.http_post(
            f"/users/{user.id}/personal_access_tokens",
            post_data={"name": "test", "scopes": list(scopes)},
        )
        assert isinstance(token, dict)
        return int(user.id), str(token["token"])

    def clone_url(self, name: str, password: str) -> str:
        """The address of the usual project with this login."""
        scheme, rest = self.server.url.split("://")
        return f"{scheme}://{name}:{password}@{rest}/acme/platform/demo.git"

    def call(
        self, method: str, path: str, *, token: str | None = None, **rest: Any
    ) -> httpx.Response:
        """An API call with a token, by default the administrator's; `""` for none."""
        headers = {"PRIVATE-TOKEN": self.server.root_token if token is None else token}
        if token == "":
            headers = {}
        return httpx.request(method, f"{self.server.url}/api/v4{path}", headers=headers, **rest)

    def statuses(self) -> dict[str, str]:
        """The state of the newest job of each name."""
        return self.server.ask(
            lambda world: {
                job.spec.name: str(job.status)
                for job in world.ci.jobs.values()
                if not job.is_retried
            }
        )

    def count(self, status: Status) -> int:
        """How many jobs are in this state."""
        return list(self.statuses().values()).count(str(status))


def run_git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A git command without personal settings; it never asks for a password."""
    return subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=git_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
