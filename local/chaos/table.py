"""Many runs as one line per fault."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from local.chaos.judge import ChaosResult

_SUMMED = ("jobs", "finished", "launched", "surplus_machine_s", "stuck", "leaked", "killed_busy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """All runs of one fault together."""

    runs: int
    struck: int  # runs in which the fault took effect
    total: ChaosResult  # the worst run, to be looked at again by its seed, with the numbers of all


def by_fault(rows: Iterable[ChaosResult]) -> tuple[Line, ...]:
    """One line per fault, in the order of the first row of each."""
    groups: dict[str, list[ChaosResult]] = {}
    for row in rows:
        groups.setdefault(row.fault, []).append(row)
    return tuple(_line(alike) for alike in groups.values())


def _line(rows: list[ChaosResult]) -> Line:
    worst = max(rows, key=lambda row: (not row.ok, row.longest_wait_s))
    longest_wait_s = max(row.longest_wait_s for row in rows)
    sums = {name: sum(getattr(row, name) for row in rows) for name in _SUMMED}
    total = replace(worst, longest_wait_s=longest_wait_s, **sums)
    return Line(runs=len(rows), struck=sum(row.injected > 0 for row in rows), total=total)
