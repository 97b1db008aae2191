"""What the autoscaler needs of a back end: launch, end, observe."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from fleet.config.reading import PoolConfig
from fleet.rules.capacity import CapacityPool, ErrorKind
from fleet.times import HasUtcTimes


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchOrder(HasUtcTimes):
    """Machines of one pool to launch in one go."""

    launch_id: str  # names the order: asked twice, it is carried out once
    runner_ids: tuple[str, ...]
    call_home_by: datetime  # later than this, another machine was launched instead
    expires_at: datetime
    try_in: tuple[CapacityPool, ...]  # in this order; empty where the back end has no such thing


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """One machine that the cloud gave."""

    runner_id: str
    machine_id: str
    mailbox: str
    capacity: CapacityPool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """Why some machines did not come."""

    kind: ErrorKind
    code: str  # the cloud's own
    capacity: CapacityPool | None  # the one that had none; None: all of them
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchResult:
    """What came, and why the rest did not."""

    launched: tuple[Launched, ...]
    shortfalls: tuple[Shortfall, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine(HasUtcTimes):
    """One machine as its cloud shows it."""

    machine_id: str
    alive: bool
    launched_at: datetime
    launch_id: str | None
    pool: str | None


class Backend(Protocol):
    """One kind of machine. Every call may be repeated."""

    @property
    def name(self) -> str:
        """As `backend` in fleet.toml."""
        ...

    @property
    def ends_alone(self) -> bool:
        """Whether nobody can end its machines from outside: what said goodbye has ended."""
        ...

    def capacity_pools(self, pool: PoolConfig) -> tuple[CapacityPool, ...]:
        """Where the pool's machines may come from, most wanted first; empty: one place only."""
        ...

    def launch(self, pool: PoolConfig, order: LaunchOrder) -> LaunchResult:
        """Ask for one machine per runner id. Less is normal and never an exception."""
        ...

    def end(self, machine_ids: Sequence[str]) -> None:
        """End machines; those that ended before are no error."""
        ...

    def mailbox(self, machine_id: str) -> str | None:
        """The mailbox of a machine; None where the machine's id does not tell."""
        ...

    def machines(self) -> tuple[Machine, ...] | None:
        """Every machine of ours that the cloud shows; None where it can show none."""
        ...
