"""Bare git repositories on disk, through the git command."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from local.gitlab.model import Commit

DESCRIPTION = "description"  # git's own file for it; holds the project's path
_SEPARATOR = "\x00"
_SETTINGS = """\
[http]
	receivepack = true
[receive]
	advertisePushOptions = true
[uploadpack]
	allowAnySHA1InWant = true
[gc]
	auto = 0
"""


class GitFailed(Exception):
    """A git command on a project's repository failed; the message is git's."""


def git_environment() -> dict[str, str]:
    """The environment for git, without personal settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {
        **inherited,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C.UTF-8",
    }


def run_git(repository: Path, *arguments: str) -> str:
    """The output of the git command. Raises `GitFailed`."""
    done = subprocess.run(
        ["git", "--git-dir", str(repository), *arguments],
        capture_output=True,
        env=git_environment(),
        check=False,
    )
    if done.returncode:
        raise GitFailed(done.stderr.decode("utf-8", "replace").strip())
    return done.stdout.decode("utf-8", "replace")


def create_repository(repository: Path, *, default_branch: str, path: str = "") -> None:
    """A bare repository that can be pushed to over HTTP; `path` is its project's."""
    repository.mkdir(parents=True)
    branch = f"--initial-branch={default_branch}"
    run_git(repository, "init", "--quiet", "--bare", "--template=", branch)
    with (repository / "config").open("a") as config:
        config.write(_SETTINGS)
    (repository / DESCRIPTION).write_text(f"{path}\n")


def read_refs(repository: Path) -> dict[str, str]:
    """All refs that are shown, by full name, with their commits; annotated tags are peeled."""
    form = "%(refname) %(objectname) %(*objectname)"
    printed = run_git(
        repository,
        "for-each-ref",
        f"--format={form}",
        *("refs/heads", "refs/tags", "refs/pipelines", "refs/merge-requests"),
    )
    rows = (line.split(" ") for line in printed.splitlines())
    return {name: peeled or direct for name, direct, peeled in rows}


def read_commit(repository: Path, revision: str) -> Commit:
    """The commit a revision names. Raises `GitFailed`."""
    form = "%H%x00%an%x00%ae%x00%at%x00%B"
    printed = run_git(repository, "log", "-1", f"--format={form}", revision)
    sha, name, email, seconds, message = printed.split(_SEPARATOR, 4)
    return Commit(
        sha=sha,
        message=message.rstrip("\n") + "\n",
        author_name=name,
        author_email=email,
        authored_at=datetime.fromtimestamp(int(seconds), UTC),
    )


def read_tag(repository: Path, name: str) -> str:
    """The message of an annotated tag; empty for another tag."""
    form = "%(if:equals=tag)%(objecttype)%(then)%(contents)%(end)"
    return run_git(repository, "for-each-ref", f"--format={form}", name).strip()


def read_merge_base(repository: Path, first: str, second: str) -> str:
    """The last common commit of two branches; empty without one."""
    try:
        return run_git(repository, "merge-base", first, second).strip()
    except GitFailed:
        return ""


class CommitFiles(Mapping[str, str]):
    """The text files of a commit by path; each is read from the repository on access."""

    def __init__(self, repository: Path, sha: str) -> None:
        self._repository = repository
        self._sha = sha

    @cached_property
    def paths(self) -> frozenset[str]:
        """The path of every file."""
        listed = run_git(self._repository, "ls-tree", "-r", "-z", "--name-only", self._sha)
        return frozenset(listed.split("\x00")) - {""}

    def __getitem__(self, path: str) -> str:
        """The file's text. Raises `KeyError`."""
        if path not in self.paths:
            raise KeyError(path)
        return run_git(self._repository, "show", f"{self._sha}:{path}")

    def __iter__(self) -> Iterator[str]:
        """The paths, sorted."""
        return iter(sorted(self.paths))

    def __len__(self) -> int:
        """How many files there are."""
        return len(self.paths)


class CommitChanges:
    """Which files a commit changed; each question runs one git command, on demand."""

    def __init__(self, repository: Path, sha: str, *, before: str | None) -> None:
        """`before` is the commit to compare with: of the branch before a push, or the
        common commit of a merge request's branches. None for a new branch or a tag.
        """
        self._repository = repository
        self._sha = sha
        self._before = before
        self._known: dict[str, frozenset[str]] = {}

    def pushed(self) -> frozenset[str] | None:
        """Paths that differ from before, both names of a renamed file; None when unknown."""
        if self._before is None:
            return None
        try:
            return self._between(self._before, "--no-renames")
        except GitFailed:  # the commit before no longer exists
            return None

    def since(self, ref: str) -> frozenset[str] | None:
        """Paths that differ from the fork point of a branch, tag or commit; None without it."""
        for name in (f"refs/heads/{ref}", f"refs/tags/{ref}", ref):
            try:
                # `--end-of-options`, so that no ref can be an option
                other = run_git(
                    self._repository,
                    *("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"),
                ).strip()
                base = read_merge_base(self._repository, other, self._sha)
                return self._between(base, "-M") if base else None
            except GitFailed:
                continue
        return None

    def _between(self, old: str, renames: str) -> frozenset[str]:
        if old not in self._known:
            arguments = ("diff-tree", "-r", "-z", "--name-only", renames, old, self._sha)
            listed = run_git(self._repository, *arguments)
            self._known[old] = frozenset(listed.split("\x00")) - {""}
        return self._known[old]


def keep_ref(repository: Path, name: str, sha: str) -> None:
    """Point a ref at a commit that is in the repository."""
    path = repository / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{sha}\n")
