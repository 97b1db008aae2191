"""Which capacity pools to ask now, by the back-off memory of those that had no machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from fleet.aws_errors import SERVED_NO_JOB, ErrorKind, classify
from fleet.errors import FleetError, Transient
from fleet.times import HasUtcTimes

# The back-off after the first failure, and at most. Each failure doubles it.
_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_PATIENCE = {
    ErrorKind.CAPACITY: (_MINUTE, 30 * _MINUTE),
    ErrorKind.QUOTA: (_MINUTE, 15 * _MINUTE),  # frees as soon as machines end
    ErrorKind.THROTTLE: (2 * _SECOND, _MINUTE),
    # A new configuration ends it at once (`note_applied`). It also expires: a permission
    # or a network can be corrected without a new configuration.
    ErrorKind.CONFIGURATION: (5 * _MINUTE, 60 * _MINUTE),
    ErrorKind.BOOT: (_MINUTE, 30 * _MINUTE),
    ErrorKind.UNKNOWN: (_MINUTE, 30 * _MINUTE),
}
_MARKETS = ("spot", "on-demand")


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityPool:
    """An instance type in a subnet on a market, with its own supply. `str` is its ledger name."""

    instance_type: str
    subnet: str
    market: str  # "spot" or "on-demand"

    def __str__(self) -> str:
        return f"{self.instance_type}/{self.subnet}/{self.market}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackOff(HasUtcTimes):
    """Until when a capacity pool that had no machine is not asked again."""

    until: datetime
    failures: int  # of this kind, in a row
    code: str  # AWS's code of the last failure


def decide_capacity(
    pools: Sequence[CapacityPool], back_off: Mapping[str, BackOff], at: datetime
) -> tuple[CapacityPool, ...]:
    """The capacity pools to ask at `at`: spot before on-demand, else in the given order.

    `back_off` is keyed by the pool's name (`str`). Empty: all of them are backed off. One whose
    machines failed is asked only where no other may be: the image may be to blame, and
    jobs have attempts of their own.
    """
    backed_off = {
        pool: entry
        for pool in pools
        if (entry := back_off.get(str(pool))) is not None and entry.until > at
    }
    doubtful = {
        pool for pool, entry in backed_off.items() if classify(entry.code) is ErrorKind.BOOT
    }
    good = [pool for pool in pools if pool not in backed_off]
    ready = good or [pool for pool in pools if pool in doubtful]
    return tuple(sorted(ready, key=lambda pool: _MARKETS.index(pool.market)))


def decide_market(
    unasked: Sequence[CapacityPool], *, missing: int, failure: FleetError | None = None
) -> tuple[CapacityPool, ...]:
    """The capacity pools to ask now for the `missing` machines: those of one market.

    `unasked`: the capacity pools of the other markets, preferred first; `failure`: how the call
    before ended. Empty: the search ends.
    """
    if not unasked or missing <= 0 or (failure is not None and ends_search(failure)):
        return ()
    return tuple(pool for pool in unasked if pool.market == unasked[0].market)


def ends_search(failure: FleetError) -> bool:
    """Whether no other market is asked after a failed call.

    A lost answer may have launched machines, and a throttle holds in every market. A refusal
    concerns its own market.
    """
    return isinstance(failure, Transient)


def dry_until(
    pools: Sequence[CapacityPool], back_off: Mapping[str, BackOff], at: datetime
) -> datetime | None:
    """When a capacity pool may be asked again; None: one may be asked now.

    A back end without capacity pools is one pool named `*`.
    """
    if not pools:
        whole = back_off.get("*")
        return whole.until if whole is not None and whole.until > at else None
    if decide_capacity(pools, back_off, at):
        return None
    return min(back_off[str(pool)].until for pool in pools)


def note_failure(before: BackOff | None, kind: ErrorKind, code: str, at: datetime) -> BackOff:
    """The back-off after a failure at `at`; `before`: the last one, also when it is over.

    Failures of one kind in a row double it. The row ends when the capacity pool was free to be
    asked for as long as the longest back-off.
    """
    first, longest = _PATIENCE[kind]
    is_in_a_row = (
        before is not None and classify(before.code) is kind and at - before.until <= longest
    )
    failures = before.failures + 1 if before is not None and is_in_a_row else 1
    wait = min(longest, first * 2 ** min(failures - 1, 16))
    return BackOff(until=at + wait, failures=failures, code=code)


def note_success(back_off: Mapping[str, BackOff], pool: CapacityPool) -> dict[str, BackOff]:
    """The back-off memory without the capacity pool that gave a machine.

    That is no proof for a capacity pool whose machines failed: EC2 gave those, too.
    """
    return {
        name: entry
        for name, entry in back_off.items()
        if name != str(pool) or classify(entry.code) is ErrorKind.BOOT
    }


def note_machine_failure(
    back_off: Mapping[str, BackOff], capacity: str, at: datetime
) -> dict[str, BackOff]:
    """The back-off memory after a machine from this capacity pool failed.

    The machines of one launch fail within one back-off, and count once.
    """
    before = back_off.get(capacity)
    if before is not None and before.until > at:
        return dict(back_off)
    return {**back_off, capacity: note_failure(before, ErrorKind.BOOT, SERVED_NO_JOB, at)}


def note_served(back_off: Mapping[str, BackOff], capacity: str) -> dict[str, BackOff]:
    """The back-off memory after a machine from this capacity pool served."""
    return {
        name: entry
        for name, entry in back_off.items()
        if name != capacity or classify(entry.code) is not ErrorKind.BOOT
    }


def note_applied(back_off: Mapping[str, BackOff]) -> dict[str, BackOff]:
    """The back-off memory without refusals that a new configuration may have cured."""
    return {
        name: entry
        for name, entry in back_off.items()
        if classify(entry.code) not in {ErrorKind.CONFIGURATION, ErrorKind.BOOT}
    }
