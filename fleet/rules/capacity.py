"""Where machines may come from, and which of these places to ask now: back-off memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from fleet.aws_errors import ErrorKind, advice, classify
from fleet.times import HasUtcTimes

__all__ = [
    "BackOff",
    "CapacityPool",
    "ErrorKind",
    "advice",
    "classify",
    "decide_capacity",
    "dry_until",
    "note_applied",
    "note_failure",
    "note_success",
]

# How long a place is left alone after its first failure, and at most. Twice as long each time.
_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_PATIENCE = {
    ErrorKind.CAPACITY: (_MINUTE, 30 * _MINUTE),
    ErrorKind.QUOTA: (_MINUTE, 15 * _MINUTE),  # frees as soon as machines end
    ErrorKind.THROTTLE: (2 * _SECOND, _MINUTE),
    # A new configuration ends it at once (`note_applied`). It is tried again all the same: a
    # permission or a network is put right without a new configuration.
    ErrorKind.CONFIGURATION: (5 * _MINUTE, 60 * _MINUTE),
    ErrorKind.UNKNOWN: (_MINUTE, 30 * _MINUTE),
}
_MARKETS = ("spot", "on-demand")


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityPool:
    """A place that machines come from; each has its own supply. `str` names it in the ledger."""

    instance_type: str
    subnet: str
    market: str  # "spot" or "on-demand"

    def __str__(self) -> str:
        return f"{self.instance_type}/{self.subnet}/{self.market}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackOff(HasUtcTimes):
    """A place that had nothing, and until when it is not asked again."""

    until: datetime
    failures: int  # of this kind, in a row
    code: str  # AWS's word for the last one


def decide_capacity(
    pools: Sequence[CapacityPool], back_off: Mapping[str, BackOff], at: datetime
) -> tuple[CapacityPool, ...]:
    """Give the places to ask at `at`: spot before on-demand, else in the given order.

    `back_off` is by a place's name (`str`). Nothing: all of them are to be left alone.
    """
    ready = [pool for pool in pools if not _is_backed_off(back_off.get(str(pool)), at)]
    return tuple(sorted(ready, key=lambda pool: _MARKETS.index(pool.market)))


def dry_until(
    pools: Sequence[CapacityPool], back_off: Mapping[str, BackOff], at: datetime
) -> datetime | None:
    """When a place for machines may be asked again; None: one may be asked now.

    A back end that has no places is one place called `*`.
    """
    if not pools:
        whole = back_off.get("*")
        return whole.until if whole is not None and whole.until > at else None
    if decide_capacity(pools, back_off, at):
        return None
    return min(back_off[str(pool)].until for pool in pools)


def note_failure(held: BackOff | None, kind: ErrorKind, code: str, at: datetime) -> BackOff:
    """Give how long to leave a place alone that had nothing at `at`; `held` is what was known.

    Failures of one kind in a row double the time. The row ends when a place was free to be
    asked for as long as the longest wait.
    """
    first, longest = _PATIENCE[kind]
    in_a_row = held is not None and classify(held.code) is kind and at - held.until <= longest
    failures = held.failures + 1 if held is not None and in_a_row else 1
    wait = min(longest, first * 2 ** min(failures - 1, 16))
    return BackOff(until=at + wait, failures=failures, code=code)


def note_success(back_off: Mapping[str, BackOff], pool: CapacityPool) -> dict[str, BackOff]:
    """Give the memory after a place gave a machine: that place is as good as new."""
    return {name: held for name, held in back_off.items() if name != str(pool)}


def note_applied(back_off: Mapping[str, BackOff]) -> dict[str, BackOff]:
    """Give the memory after a new configuration: what the old one was refused for is forgotten."""
    return {
        name: held
        for name, held in back_off.items()
        if classify(held.code) is not ErrorKind.CONFIGURATION
    }


def _is_backed_off(held: BackOff | None, at: datetime) -> bool:
    return held is not None and held.until > at
