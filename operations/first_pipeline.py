"""A pipeline with a job for each pool, on a branch of its own, and the branch's end."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

from adapters.gitlab.client import GitLab
from adapters.gitlab.values import GitLabJob, GitLabProject
from adapters.gitlab.way import DIRECT, Way
from fleet.config.model import PoolConfig
from fleet.errors import Refused
from fleet.model import JobStatus, rank

BRANCH = "runner-fleet-test"
FILE = ".gitlab-ci.yml"
WITHIN_S = 900.0
_AUTHOR = {
    "GIT_AUTHOR_NAME": "runner-fleet",
    "GIT_AUTHOR_EMAIL": "runner-fleet@localhost",
    "GIT_COMMITTER_NAME": "runner-fleet",
    "GIT_COMMITTER_EMAIL": "runner-fleet@localhost",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineProject:
    """Where the pipeline runs. `url` and `token` are GitLab's, `way` leads there."""

    gitlab: GitLab
    project: GitLabProject
    url: str
    token: str = field(repr=False)
    way: Way = DIRECT


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a caller waits for the pipeline, and how often it looks, by which clock."""

    within_s: float = WITHIN_S
    every_s: float = 2.0
    clock: Callable[[], float] = monotonic
    pause: Callable[[float], None] = sleep


def pools_to_test(pools: Sequence[PoolConfig]) -> tuple[PoolConfig, ...]:
    """The pools that a job on an unprotected branch can reach, by tags of their own."""
    return tuple(pool for pool in pools if pool.tags and not pool.protected_only)


def pipeline_text(pools: Sequence[PoolConfig]) -> str:
    """A .gitlab-ci.yml with one job for each of these pools."""
    jobs = []
    for pool in pools:
        tags = ", ".join(f'"{tag}"' for tag in pool.tags)
        jobs.append(
            f"runner-fleet-{pool.name}:\n  tags: [{tags}]\n"
            f"  script: ['echo \"a runner of pool {pool.name} took this job\"']\n"
        )
    return "\n".join(jobs)


def run_pipeline(
    where: PipelineProject, pools: Sequence[PoolConfig], patience: Patience
) -> Iterator[tuple[GitLabJob, ...]]:
    """Push the pipeline and yield its jobs again and again, until each is over.

    The branch goes in any case. Raises `Refused` when git or GitLab does not take the push, and
    when the jobs are not over in time.
    """
    started = {pipeline["id"] for pipeline in _pipelines(where)}
    with _pushed(where, pipeline_text(pools)):
        deadline = patience.clock() + patience.within_s
        while patience.clock() < deadline:
            new = [
                pipeline["id"] for pipeline in _pipelines(where) if pipeline["id"] not in started
            ]
            jobs = tuple(where.gitlab.pipeline_jobs(where.project.id, new[0])) if new else ()
            if jobs:
                yield jobs
            if jobs and all(rank(job.status) is JobStatus.FINISHED for job in jobs):
                return
            patience.pause(patience.every_s)
        raise Refused(
            f"the test pipeline was not over within {patience.within_s:.0f} s: run"
            " `runner-fleet explain` for its jobs",
            project=where.project.path,
        )


def _pipelines(where: PipelineProject) -> list[Mapping[str, int]]:
    path = f"/projects/{where.project.id}/pipelines"
    return list(where.gitlab.api.pages(path, ref=BRANCH))


@contextmanager
def _pushed(where: PipelineProject, text: str) -> Iterator[None]:
    """A branch with this file alone, for as long as the caller works."""
    with tempfile.TemporaryDirectory(prefix="runner-fleet-") as name:
        folder = Path(name)
        git = _Git(where, folder)
        git.run("init", "--quiet")
        (folder / FILE).write_text(text)
        git.run("add", FILE)
        git.run("commit", "--quiet", "--message", "Test the runner fleet")
        git.run("push", "--quiet", "--force", git.address, f"HEAD:refs/heads/{BRANCH}")
        try:
            yield
        finally:
            git.run("push", "--quiet", git.address, f":refs/heads/{BRANCH}")


class _Git:
    """git in one folder; the token reaches it by a program that prints a variable."""

    def __init__(self, where: PipelineProject, folder: Path) -> None:
        scheme, _, rest = where.url.partition("://")
        self.address = f"{scheme}://oauth2@{rest}/{where.project.path}.git"
        self._folder = folder
        ask = folder / ".git-ask"
        ask.write_text('#!/bin/sh\nprintf %s "$FLEET_TOKEN"\n')
        ask.chmod(0o700)
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
            **_AUTHOR,
            **_way(where.way, folder),
            "FLEET_TOKEN": where.token,
            "GIT_ASKPASS": str(ask),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
        }

    def run(self, *arguments: str) -> None:
        """Run it. Raises `Refused` with git's last line."""
        try:
            completed = subprocess.run(
                ["git", *arguments],
                cwd=self._folder,
                env=self._environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
        except (FileNotFoundError, subprocess.TimeoutExpired) as error:
            raise Refused("git is missing here, or does not end: the test needs it") from error
        if completed.returncode:
            last_line = (completed.stderr.strip().splitlines() or ["nothing"])[-1]
            raise Refused(f"git {arguments[0]} failed", words=last_line)


def _way(way: Way, folder: Path) -> Mapping[str, str]:
    """Variables that lead git over the fleet's proxy and its certificate authority."""
    settings = {}
    if way.tls_ca:
        bundle = folder / ".git-ca"
        bundle.write_text(way.tls_ca)
        settings["GIT_SSL_CAINFO"] = str(bundle)
    if way.proxy:
        settings |= {"http_proxy": way.proxy, "https_proxy": way.proxy}
    return settings
