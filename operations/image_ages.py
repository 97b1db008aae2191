"""Which images a stack's machines start from, and the newest image of each kind."""

from collections.abc import Callable
from datetime import datetime, timedelta

from adapters.aws.clients import Clients
from fleet.config.reading import FleetConfig
from fleet.errors import FleetError
from fleet.rules.problems.facts import ImageFacts
from operations.images import ImageKind, Workshop, kinds_for, listed, workshop_of

LOOK_EVERY = timedelta(minutes=5)  # images change with deployments; `status --watch` reads each 2 s


def image_ages(workshop: Workshop) -> tuple[ImageFacts, ...]:
    """Each kind whose image is one of the stack's repository."""
    rows = [row for row in listed(workshop) if row.pushed_at is not None]
    newest: dict[str, datetime] = {}
    for row in rows:  # newest first
        if row.pushed_at is not None:
            newest.setdefault(row.kind.name, row.pushed_at)
    return tuple(
        ImageFacts(
            kind=row.kind.name,
            used_at=row.pushed_at,
            newest_at=newest[row.kind.name],
            sources=row.kind.sources(row.tag),
            code_sources=workshop.sources,
        )
        for row in rows
        if row.is_used and row.pushed_at is not None
    )


def kinds_to_build(workshop: Workshop, config: FleetConfig) -> tuple[ImageKind, ...]:
    """Those of the pools' machines for which the stack has no image, or one of other code."""
    old = {image.kind for image in image_ages(workshop) if image.is_of_other_code}
    return tuple(
        kind for kind in kinds_for(config) if kind.name in old or not workshop.used[kind.parameter]
    )


class ImageAges:
    """Reads them, and again after `LOOK_EVERY`; none where AWS may not be asked."""

    def __init__(self, aws: Clients, stack: str, clock: Callable[[], datetime]) -> None:
        self._aws = aws
        self._stack = stack
        self._clock = clock
        self._read: tuple[datetime, tuple[ImageFacts, ...]] | None = None

    def __call__(self) -> tuple[ImageFacts, ...]:
        """The facts."""
        at = self._clock()
        if self._read is None or at - self._read[0] >= LOOK_EVERY:
            self._read = (at, self._look())
        return self._read[1]

    def _look(self) -> tuple[ImageFacts, ...]:
        try:
            return image_ages(workshop_of(self._aws, self._stack))
        except FleetError:
            return ()
