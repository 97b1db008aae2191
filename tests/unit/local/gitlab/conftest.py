"""A simulated GitLab whose API can be called without a server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.local.gitlab.desk import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """An instance with GitLab's own defaults."""
    with Desk(tmp_path) as opened:
        yield opened
