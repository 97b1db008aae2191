"""Many runs as one line per fault."""

from collections.abc import Iterable
from dataclasses import dataclass

from local.chaos.judge import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """All runs of one fault together; `seed` is the one to look at again: the worst."""

    fault: str
    runs: int
    struck: int  # runs in which the fault took effect
    jobs: int
    finished: int
    longest_wait_s: float
    launched: int
    surplus_machine_s: float
    stuck: int
    leaked: int
    killed_busy: int
    seed: int
    ok: bool


def by_fault(rows: Iterable[Row]) -> tuple[Line, ...]:
    """One line per fault, in the order of the first row of each."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.fault, []).append(row)
    return tuple(_line(fault, alike) for fault, alike in groups.items())


def _line(fault: str, rows: list[Row]) -> Line:
    worst = max(rows, key=lambda row: (not row.ok, row.longest_wait_s))
    return Line(
        fault=fault,
        runs=len(rows),
        struck=sum(row.injected > 0 for row in rows),
        jobs=sum(row.jobs for row in rows),
        finished=sum(row.finished for row in rows),
        longest_wait_s=max(row.longest_wait_s for row in rows),
        launched=sum(row.launched for row in rows),
        surplus_machine_s=round(sum(row.surplus_machine_s for row in rows), 1),
        stuck=sum(row.stuck for row in rows),
        leaked=sum(row.leaked for row in rows),
        killed_busy=sum(row.killed_busy for row in rows),
        seed=worst.seed,
        ok=all(row.ok for row in rows),
    )
