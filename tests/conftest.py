"""What holds for every test."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says something of the machine's load and nothing of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture
def closed_event_loop() -> Iterator[None]:
    """Mangum keeps a loop for the next call; here the last test's must not stay open."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    with suppress(RuntimeError):  # none is set after `asyncio.run`; else Mangum made its own
        asyncio.get_event_loop().close()
    asyncio.set_event_loop(None)
    loop.close()
