"""The fleet at one time as commands and pages show it: values, read by `operations.status`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from fleet.rules.problems.kinds import Problem
from operations.controls import ControlView


@dataclass(frozen=True, slots=True, kw_only=True)
class BackOffView:
    """A capacity pool that had no machines, and how long it is left alone from now on."""

    capacity: str
    code: str  # AWS's word
    for_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolView:
    """One pool: what it may have, what it has, what waits for it, and why it stays as it is."""

    name: str
    backend: str
    ceiling: int
    in_use: int
    states: Mapping[str, int]  # runners by state
    warm: int  # idle runners to keep now
    backlog: int  # jobs that wait here
    oldest_wait_s: float | None
    reason: str | None  # of the last decision
    sentence: str  # the reason in words
    back_off: tuple[BackOffView, ...] = ()
    is_leaving: bool = False  # no longer in fleet.toml; its last runners end


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """One queue. `dead` counts what was given up."""

    name: str
    messages: int
    dead: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineView:
    """One live runner and its machine."""

    runner_id: str
    machine_id: str | None
    pool: str
    state: str
    since: datetime
    for_s: float  # in this state
    job_id: int | None
    capacity: str | None
    heard_s: float | None  # since its last heartbeat
    is_stalled: bool = False  # no heartbeat for the `stalled_after` of its pool


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """One job that changed lately."""

    job_id: int
    name: str
    project: str
    tags: tuple[str, ...]
    pool: str | None
    status: str  # GitLab's word
    waited_s: float | None
    ran_s: float | None
    runner_id: str | None
    reason: str | None
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetView:
    """A budget of today, in USD. `used_usd` has ended machines, and live ones so far."""

    name: str  # a pool, or a project as fleet.toml names it
    is_project: bool
    usd_per_day: float
    used_usd: float
    is_used_up: bool  # nothing is launched for it until 00:00 UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetView:
    """The whole fleet."""

    at: datetime
    stack: str
    gitlab: str
    version: str  # of fleet.toml
    problems: tuple[Problem, ...]
    pools: tuple[PoolView, ...]
    queues: tuple[QueueView, ...]
    machines: tuple[MachineView, ...]
    jobs: tuple[JobView, ...]
    controls: tuple[ControlView, ...] = ()  # orders of people that are in force
    budgets: tuple[BudgetView, ...] = ()  # of today, UTC

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it: times as ISO 8601 in UTC, durations in seconds."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
