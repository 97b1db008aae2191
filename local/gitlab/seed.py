"""Fills a GitLab with a project: created over REST, filled by a real `git push`."""

import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import gitlab
from gitlab.exceptions import GitlabGetError
from gitlab.v4.objects import Group

from local.gitlab.repository import git_environment

_AUTHOR = {
    "GIT_AUTHOR_NAME": "Dana Roe",
    "GIT_AUTHOR_EMAIL": "dana@example.com",
    "GIT_COMMITTER_NAME": "Dana Roe",
    "GIT_COMMITTER_EMAIL": "dana@example.com",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededProject:
    """A project that can be cloned and pushed to; `clone_url` carries the login."""

    id: int
    clone_url: str


class SeedFailed(Exception):
    """A git command of the seed failed; the message is git's."""


def create_project(
    server_url: str,
    token: str,
    path: str,
    files: Mapping[str, str],
    *,
    default_branch: str = "main",
) -> SeededProject:
    """The project at `path` (`group/…/name`), with `files` as its first commit on its branch.

    Missing groups are created. A `.gitlab-ci.yml` among the files starts the first pipeline.
    """
    with gitlab.Gitlab(server_url, private_token=token) as client:
        *groups, name = path.split("/")
        parent = _group(client, groups)
        wanted = {"name": name, "path": name, "namespace_id": parent.id}
        project = client.projects.create(wanted | {"default_branch": default_branch})
    scheme, rest = server_url.split("://", 1)
    seeded = SeededProject(id=project.id, clone_url=f"{scheme}://oauth2:{token}@{rest}/{path}.git")
    if files:
        _commit_and_push(_Push(seeded.clone_url, default_branch, "Add the first files"), files)
    return seeded


def _group(client: gitlab.Gitlab, names: list[str]) -> Group:
    group: Group | None = None
    for depth, name in enumerate(names, start=1):
        try:
            group = client.groups.get("/".join(names[:depth]))
        except GitlabGetError:
            parent = {"parent_id": group.id} if group else {}
            group = client.groups.create({"name": name, "path": name, **parent})
    if group is None:
        raise SeedFailed("a project needs a group: give its path as group/name")
    return group


@dataclass(frozen=True, slots=True)
class _Push:
    """The target of a commit."""

    clone_url: str
    branch: str
    message: str
    options: tuple[str, ...] = ()
    on_top: bool = False  # of what the branch has


def push_files(
    clone_url: str,
    files: Mapping[str, str],
    *,
    message: str,
    branch: str = "main",
    options: tuple[str, ...] = (),
) -> str:
    """Commit `files` on top of the branch (or as its first commit) and push; the new sha."""
    push = _Push(clone_url, branch, message, options=options, on_top=True)
    return _commit_and_push(push, files)


def _commit_and_push(push: _Push, files: Mapping[str, str]) -> str:
    # A git that is killed leaves helpers, which may write there a moment longer.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        work = Path(folder)
        _git(work, "init", "--quiet", "--template=", f"--initial-branch={push.branch}")
        if push.on_top and _git(work, "ls-remote", push.clone_url, f"refs/heads/{push.branch}"):
            _git(work, "fetch", "--quiet", "--depth=1", push.clone_url, push.branch)
            _git(work, "reset", "--quiet", "--hard", "FETCH_HEAD")
        for name, text in files.items():
            target = work / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        _git(work, "add", "--all", "--force")
        _git(work, "commit", "--quiet", "--allow-empty", f"--message={push.message}")
        asked = [f"--push-option={option}" for option in push.options]
        _git(work, "push", "--quiet", *asked, push.clone_url, f"HEAD:refs/heads/{push.branch}")
        return _git(work, "rev-parse", "HEAD").strip()


def _git(work: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=work,
        env={**git_environment(), **_AUTHOR},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SeedFailed(done.stderr.strip())
    return done.stdout
