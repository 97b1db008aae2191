"""A fault: its name, the periods it needs, and its effect on a run."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from local.chaos.fleet_file import FleetFile, Periods
from local.chaos.scene import CONTAINER_BOOTS_S, Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One failure of the world around the fleet.

    `act` pushes the jobs itself, at the worst moment.
    """

    name: str
    about: str
    act: Callable[[Scene], None]
    periods: Periods = field(default_factory=Periods)
    file: FleetFile = field(default_factory=FleetFile)
    finish_within_s: float = 90.0  # after `act`: every job has ended as it must
    wait_at_most_s: float | None = None  # no job may wait longer for its runner
    keeps_state: bool = False  # it restarts the engine

    @property
    def kind(self) -> tuple[Periods, bool]:
        """Faults of one kind can share a laptop."""
        return self.periods, self.keeps_state

    def on_containers(self) -> "Fault":
        """The same, with the time that machines need that are containers."""
        late = CONTAINER_BOOTS_S
        deadline_s = self.periods.boot_deadline_s + late
        return replace(
            self,
            periods=replace(self.periods, boot_deadline_s=deadline_s),
            finish_within_s=self.finish_within_s + 3 * late,
            wait_at_most_s=None if self.wait_at_most_s is None else self.wait_at_most_s + late,
        )
