"""What several attacks need."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.guest.wipe import remove_tree


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may enter; pytest's own are closed."""
    folder = Path(tempfile.mkdtemp(prefix="attack-"))
    folder.chmod(0o755)
    yield folder
    assert remove_tree(folder, within_s=60)
