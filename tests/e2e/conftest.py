"""The fixtures of the tests that need a Docker engine."""

from tests.e2e.images import images
from tests.e2e.lambda_site import emulator_program, sandbox_image

__all__ = ["emulator_program", "images", "sandbox_image"]
