"""What a launch teaches about capacity pools, and about a pool's configuration."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from fleet.aws_errors import ErrorKind, advice
from fleet.rules.capacity import BackOff, CapacityPool, note_failure, note_success


class MissingMachines(Protocol):
    """Why some machines of a launch are missing."""

    @property
    def kind(self) -> ErrorKind: ...
    @property
    def code(self) -> str: ...
    @property
    def capacity(self) -> CapacityPool | None: ...  # None: every capacity pool
    @property
    def message(self) -> str: ...


# What a person can cure comes first, what passes by itself last.
_URGENCY = (
    ErrorKind.CONFIGURATION,
    ErrorKind.QUOTA,
    ErrorKind.CAPACITY,
    ErrorKind.BOOT,
    ErrorKind.UNKNOWN,
    ErrorKind.THROTTLE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationRefusal:
    """AWS's words about a pool's configuration, and the version of fleet.toml they are about."""

    words: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchMemory:
    """What is known of its capacity pools, by their names, and whether AWS refuses its machines."""

    back_off: Mapping[str, BackOff]
    refusal: ConfigurationRefusal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchFacts:
    """One order to the cloud, as it ended.

    `machines`: the capacity pool of each machine that AWS gave, None on a back end without any;
    `capacity_pools`: those of the pool; `version`: of the fleet.toml in force.
    """

    machines: Sequence[CapacityPool | None]
    shortfalls: Sequence[MissingMachines]
    capacity_pools: Sequence[CapacityPool]
    version: str


def learn(memory: LaunchMemory, launch: LaunchFacts, at: datetime) -> LaunchMemory:
    """The memory after a launch at `at`."""
    back_off = dict(memory.back_off)
    for short in launch.shortfalls:
        for name in _names(short, launch.capacity_pools):
            back_off[name] = note_failure(back_off.get(name), short.kind, short.code, at)
    for capacity in launch.machines:
        if capacity is not None:
            back_off = note_success(back_off, capacity)
    return LaunchMemory(back_off=back_off, refusal=_refusal(memory.refusal, launch))


def most_urgent(shortfalls: Iterable[MissingMachines]) -> tuple[MissingMachines, ...]:
    """One shortfall for each code, most urgent first, else in the given order."""
    by_code: dict[str, MissingMachines] = {}
    for short in shortfalls:
        by_code.setdefault(short.code, short)
    return tuple(sorted(by_code.values(), key=lambda short: _URGENCY.index(short.kind)))


def _names(short: MissingMachines, capacity_pools: Iterable[CapacityPool]) -> list[str]:
    """The capacity pools that a shortfall is about; `*` is the one of a back end that has none."""
    if short.capacity is not None:
        return [str(short.capacity)]
    return [str(capacity) for capacity in capacity_pools] or ["*"]


def _refusal(
    before: ConfigurationRefusal | None, launch: LaunchFacts
) -> ConfigurationRefusal | None:
    """AWS refuses a configuration for which it gave no machine and no other reason.

    A machine, or a lack of capacity or quota, shows that it accepts the configuration; a throttled
    or unknown answer shows nothing.
    """
    kinds = {short.kind for short in launch.shortfalls}
    if kinds == {ErrorKind.CONFIGURATION} and not launch.machines:
        short = launch.shortfalls[0]
        words = f"{short.code}: {short.message}. {advice(short.code)}"
        return ConfigurationRefusal(words=words, version=launch.version)
    is_accepted = launch.machines or kinds & {ErrorKind.CAPACITY, ErrorKind.QUOTA}
    return None if is_accepted else before
