"""Looks for spot and rebalance notices in the instance metadata, every few seconds."""

from contextlib import suppress
from datetime import datetime
from typing import Protocol

from adapters.guest.background import Background
from adapters.guest.reporter import Reporter
from ec2_runner.imds import SpotNotice
from fleet.errors import Transient
from fleet.steps import StepName

EVERY_S = 5.0  # as AWS advises


class Metadata(Protocol):
    """The part of the instance metadata that warns."""

    def spot_notice(self) -> SpotNotice | None:
        """The interruption notice, or None."""

    def rebalance_at(self) -> datetime | None:
        """Since when AWS advises to leave, or None."""


class SpotWatch(Background):
    """A thread, as a context. Reports each kind of notice once."""

    def __init__(self, imds: Metadata, reporter: Reporter, *, every_s: float = EVERY_S) -> None:
        """The context asks, not the constructor."""
        super().__init__(self._watch)
        self._imds = imds
        self._reporter = reporter
        self._every_s = every_s
        self._notice: SpotNotice | None = None
        self._advised = False

    def spot_at(self) -> datetime | None:
        """When AWS takes the machine back; `None` without a notice."""
        return self._notice.at if self._notice else None

    def _watch(self) -> None:
        while not self.is_closing and self._notice is None:
            with suppress(Transient):  # the next look may be answered
                self._look()
            self._closing.wait(self._every_s)

    def _look(self) -> None:
        advised_at = None if self._advised else self._imds.rebalance_at()
        if advised_at:
            self._advised = True
            self._reporter.step(StepName.REBALANCE_NOTICE, detail=advised_at.isoformat())
        notice = self._imds.spot_notice()
        if notice:
            self._notice = notice
            detail = f"{notice.action} at {notice.at.isoformat()}"
            self._reporter.step(StepName.SPOT_NOTICE, detail=detail)
