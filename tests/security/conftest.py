"""What several attacks need: an open folder, and an event loop as in a function."""

import asyncio
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


@pytest.fixture
def closed_event_loop() -> Iterator[None]:
    """The app of a Lambda function keeps a loop for the next call."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()
