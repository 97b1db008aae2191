"""Bare repositories on disk, through the git command; other tests push to them."""

from pathlib import Path

import pytest

from local.gitlab.repository import (
    CommitFiles,
    GitFailed,
    create_repository,
    git_environment,
    read_commit,
    read_refs,
)
from tests.integration.local.gitlab.site import run_git


def test_a_repository_has_its_default_branch_and_the_files_of_its_commits(tmp_path: Path) -> None:
    repository = tmp_path / "deep" / "1.git"
    create_repository(repository, default_branch="trunk")
    assert read_refs(repository) == {}
    assert (repository / "HEAD").read_text() == "ref: refs/heads/trunk\n"
    work = tmp_path / "work"
    (work / "ci").mkdir(parents=True)
    (work / "ci" / "jobs.yml").write_text("unit: {}\n")
    (work / "grüße.txt").write_text("hallo\n")
    author = ("-c", "user.name=Dana Roe", "-c", "user.email=dana@example.com")
    for command in (
        ("init", "--quiet", "--initial-branch=trunk"),
        ("add", "."),
        (*author, "commit", "--quiet", "--message", "Say hello\n\nIn German."),
        ("push", "--quiet", str(repository), "trunk"),
    ):
        assert run_git(work, *command).returncode == 0
    commit = read_commit(repository, "trunk")
    assert (commit.message, commit.author_name) == ("Say hello\n\nIn German.\n", "Dana Roe")
    assert commit.authored_at.tzinfo is not None
    files = CommitFiles(repository, commit.sha)
    assert dict(files) == {"ci/jobs.yml": "unit: {}\n", "grüße.txt": "hallo\n"}
    assert len(files) == 2
    assert files.get("README.md") is files.get("ci") is None
    with pytest.raises(GitFailed, match="nothing"):
        read_commit(repository, "nothing")


def test_git_runs_without_personal_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/somewhere")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Eve")
    environment = git_environment()
    assert not {"GIT_DIR", "GIT_AUTHOR_NAME"} & set(environment)
    assert environment["GIT_CONFIG_GLOBAL"] == "/dev/null"
    assert environment["GIT_TERMINAL_PROMPT"] == "0"
