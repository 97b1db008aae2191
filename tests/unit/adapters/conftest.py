"""A GitLab that answers from a script, started once, and a client of it for each test."""

from collections.abc import Iterator

import pytest

from adapters.gitlab.call_allowance import OwnAllowance
from adapters.gitlab.client import GitLab
from tests.fakes import Clock
from tests.unit.adapters.fake_gitlab import FakeGitLab, fake_gitlab


@pytest.fixture(scope="session")
def server() -> Iterator[FakeGitLab]:
    with fake_gitlab() as running:
        yield running


@pytest.fixture
def fake(server: FakeGitLab) -> FakeGitLab:
    """The server with an empty script."""
    server.forget()
    return server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gitlab(fake: FakeGitLab, clock: Clock) -> GitLab:
    return GitLab(fake.url, "glpat-1", allowance=OwnAllowance(calls_per_minute=300, clock=clock))
