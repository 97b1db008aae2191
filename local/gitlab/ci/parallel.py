"""`parallel:` turns one job into many, each with a name of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product

from local.gitlab.ci.values import Location

_MOST = 200  # GitLab docs, "parallel"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelJob:
    """One of the jobs that `parallel` makes; the only one when there is no `parallel`."""

    name: str
    place: tuple[int, int] | None = None  # index from 1, total
    variables: Mapping[str, str] = field(default_factory=dict)  # from the matrix


def instances_of(name: str, parallel: Location | None) -> tuple[ParallelJob, ...]:
    """The jobs that one entry stands for: `a 1/2`, `a: [x, y]`, or just `a`."""
    if parallel is None:
        return (ParallelJob(name=name),)
    if not parallel.is_map:
        total = parallel.whole(1, _MOST)
        return tuple(
            ParallelJob(name=f"{name} {index}/{total}", place=(index, total))
            for index in range(1, total + 1)
        )
    said = parallel.entries(("matrix",))
    if "matrix" not in said:
        raise parallel.error("matrix is missing")
    rows = [row for entry in said["matrix"].items() for row in _rows(entry)]
    if not 1 <= len(rows) <= _MOST:
        raise parallel.error(f"the matrix must make from 1 to {_MOST} jobs, not {len(rows)}")
    return tuple(
        ParallelJob(
            name=f"{name}: [{', '.join(row.values())}]", place=(index, len(rows)), variables=row
        )
        for index, row in enumerate(rows, start=1)
    )


def _rows(entry: Location) -> list[dict[str, str]]:
    columns = entry.entries()
    choices = [
        tuple(_choice(item) for item in (spot.items() if spot.is_list else (spot,)))
        for spot in columns.values()
    ]
    return [dict(zip(columns, row, strict=True)) for row in product(*choices)] if columns else []


def _choice(spot: Location) -> str:
    """Text or a whole number: GitLab takes no `3.8` and no `true` without quotes here."""
    value = spot.node.value
    if isinstance(value, bool | float):
        raise spot.error(f"must be a string or a whole number; put {spot.plain()} in quotes")
    return spot.plain()
