"""The fixtures of the tests that need a Docker engine."""

from tests.e2e.images import images

__all__ = ["images"]
