"""Bare repositories on disk, through the git command."""

from __future__ import annotations

from pathlib import Path

import pytest

from local.gitlab.repository import (
    CommitFiles,
    GitFailed,
    create_repository,
    git_environment,
    keep_ref,
    read_commit,
    read_refs,
    run_git,
)
from tests.integration.local.gitlab.site import run_git as git

WHO = ("-c", "user.name=Dana Roe", "-c", "user.email=dana@example.com")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A repository with one commit of two files on main, and an annotated tag on it."""
    repository = tmp_path / "1.git"
    create_repository(repository, default_branch="main")
    work = tmp_path / "work"
    git(tmp_path, "init", "--quiet", "--initial-branch=main", "work")
    (work / "ci").mkdir()
    (work / "ci" / "jobs.yml").write_text("unit: {}\n")
    (work / "grüße.txt").write_text("hallo\n")
    git(work, "add", ".")
    git(work, *WHO, "commit", "--quiet", "--message", "Say hello\n\nIn German.")
    git(work, *WHO, "tag", "--annotate", "v1", "--message", "First")
    pushed = git(work, "push", "--quiet", str(repository), "main", "v1")
    assert pushed.returncode == 0, pushed.stderr
    return repository


def test_a_new_repository_is_empty_and_takes_pushes(tmp_path: Path) -> None:
    repository = tmp_path / "deep" / "1.git"
    create_repository(repository, default_branch="trunk")
    assert read_refs(repository) == {}
    assert (repository / "HEAD").read_text() == "ref: refs/heads/trunk\n"
    settings = run_git(repository, "config", "--list")
    for line in ("http.receivepack=true", "receive.advertisepushoptions=true", "gc.auto=0"):
        assert line in settings.splitlines()


def test_annotated_tags_are_peeled_to_their_commit(bare: Path) -> None:
    refs = read_refs(bare)
    assert set(refs) == {"refs/heads/main", "refs/tags/v1"}
    assert refs["refs/tags/v1"] == refs["refs/heads/main"]


def test_a_commit_has_author_and_message_and_can_be_kept_under_a_ref(bare: Path) -> None:
    commit = read_commit(bare, "main")
    assert commit.sha == read_refs(bare)["refs/heads/main"]
    assert commit.message == "Say hello\n\nIn German.\n"
    assert (commit.author_name, commit.author_email) == ("Dana Roe", "dana@example.com")
    assert commit.authored_at.tzinfo is not None
    keep_ref(bare, "refs/pipelines/7", commit.sha)
    assert read_refs(bare)["refs/pipelines/7"] == commit.sha
    with pytest.raises(GitFailed, match="nothing"):
        read_commit(bare, "nothing")


def test_the_files_of_a_commit_are_a_mapping(bare: Path) -> None:
    files = CommitFiles(bare, read_commit(bare, "main").sha)
    assert list(files) == ["ci/jobs.yml", "grüße.txt"]
    assert len(files) == 2
    assert files["ci/jobs.yml"] == "unit: {}\n"
    assert files["grüße.txt"] == "hallo\n"
    assert "README.md" not in files
    assert files.get("README.md") is None
    assert "ci" not in files


def test_git_runs_without_personal_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/somewhere")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Eve")
    environment = git_environment()
    assert not {"GIT_DIR", "GIT_AUTHOR_NAME"} & set(environment)
    assert environment["GIT_CONFIG_GLOBAL"] == "/dev/null"
    assert environment["GIT_TERMINAL_PROMPT"] == "0"
