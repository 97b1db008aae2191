"""What a job's `image:` and `services:` ask of its machine, and which machines have it.

A shell executor ignores both. The image of the Lambda runners bundles some versions of Node and
Python, which stand for the official images of those versions.
"""

from dataclasses import dataclass

from fleet.machine.bundled import bundled
from fleet.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Containers:
    """What a job's configuration asks of its machine. No field says: nothing."""

    image: str | None = None  # by name, its variables expanded
    services: bool = False

    def __bool__(self) -> bool:
        """Whether it asks for anything."""
        return self.image is not None or self.services


def why_unfit(containers: Containers, *, executor: str, backend: str) -> Reason | None:
    """Why a machine of such a pool lacks what a job asks for, or None where it has it."""
    if executor != "shell":
        return None
    if containers.services:
        return Reason.SERVICES
    is_there = (
        backend == "lambda"
        and containers.image is not None
        and bundled(containers.image) is not None
    )
    return None if containers.image is None or is_there else Reason.IMAGE
