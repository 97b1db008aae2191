"""The protocol of a back end: launch, end and show machines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from fleet.aws_errors import ErrorKind
from fleet.config.model import PoolConfig
from fleet.rules.capacity import CapacityPool
from fleet.times import HasUtcTimes


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedProject:
    """The project of the job that a runner is launched for."""

    id: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchOrder(HasUtcTimes):
    """Machines of one pool to launch in one go."""

    launch_id: str  # makes the order repeatable: carried out once
    runner_ids: tuple[str, ...]
    call_home_by: datetime  # later, another machine has replaced it
    expires_at: datetime
    try_in: tuple[CapacityPool, ...]  # in this order; empty for a back end without capacity pools
    served: Mapping[str, ServedProject] = field(default_factory=dict)  # by runner id


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """A launched machine."""

    runner_id: str
    machine_id: str
    mailbox: str
    capacity: CapacityPool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """Why the cloud gave fewer machines."""

    kind: ErrorKind
    code: str  # the cloud's own
    capacity: CapacityPool | None  # without capacity; None: all of them
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchResult:
    """The launched machines, and why others are missing."""

    launched: tuple[Launched, ...]
    shortfalls: tuple[Shortfall, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine(HasUtcTimes):
    """A machine as its cloud shows it."""

    machine_id: str
    alive: bool
    launched_at: datetime
    launch_id: str | None
    pool: str | None
    expires_at: datetime | None = None  # as its launch said
    ended: bool = False  # for good: no call needs to end it


class Backend(Protocol):
    """One kind of machine. Every call may be repeated."""

    @property
    def name(self) -> str:
        """As `backend` in fleet.toml."""
        ...

    @property
    def ends_alone(self) -> bool:
        """Whether its machines end only by themselves: a machine that said goodbye has ended."""
        ...

    def capacity_pools(self, pool: PoolConfig) -> tuple[CapacityPool, ...]:
        """The capacity pools of a pool, preferred first; empty for a back end without any."""
        ...

    def launch(self, pool: PoolConfig, order: LaunchOrder) -> LaunchResult:
        """Launch one machine per runner id. Fewer machines are a result, never an exception."""
        ...

    def end(self, machine_ids: Sequence[str]) -> None:
        """End machines; an ended machine is no error."""
        ...

    def mailboxes(self, machine_id: str) -> tuple[str, ...]:
        """The mailboxes of which a machine has one; none when its id does not show them."""
        ...

    def machine(self, machine_id: str) -> Machine | None:
        """One of the fleet's machines; None for one that the cloud does not show."""
        ...

    def machines(self) -> tuple[Machine, ...] | None:
        """The fleet's machines that the cloud shows; None for a cloud that shows none."""
        ...
