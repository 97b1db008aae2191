"""The jobs that one entry with `parallel:` makes, and their names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product

from local.gitlab.ci.values import Location

_MOST_JOBS = 200  # GitLab docs, "parallel"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelJob:
    """One of an entry's jobs; without `parallel` the only one."""

    name: str
    id_in_parallel: tuple[int, int] | None = None  # index from 1, total
    variables: Mapping[str, str] = field(default_factory=dict)  # of the matrix


def parallel_jobs(name: str, parallel: Location | None) -> tuple[ParallelJob, ...]:
    """The jobs of one entry, named `a 1/2`, `a: [x, y]`, or `a` without `parallel`."""
    if parallel is None:
        return (ParallelJob(name=name),)
    if not parallel.is_map:
        total = parallel.whole_number(1, _MOST_JOBS)
        return tuple(
            ParallelJob(name=f"{name} {index}/{total}", id_in_parallel=(index, total))
            for index in range(1, total + 1)
        )
    entries = parallel.entries(("matrix",))
    if "matrix" not in entries:
        raise parallel.error("matrix is missing")
    rows = [row for entry in entries["matrix"].items() for row in _matrix_rows(entry)]
    if not 1 <= len(rows) <= _MOST_JOBS:
        raise parallel.error(f"the matrix must make from 1 to {_MOST_JOBS} jobs, not {len(rows)}")
    return tuple(
        ParallelJob(
            name=f"{name}: [{', '.join(row.values())}]",
            id_in_parallel=(index, len(rows)),
            variables=row,
        )
        for index, row in enumerate(rows, start=1)
    )


def _matrix_rows(entry: Location) -> list[dict[str, str]]:
    columns = entry.entries()
    values = [
        tuple(_matrix_value(item) for item in (spot.items() if spot.is_list else (spot,)))
        for spot in columns.values()
    ]
    return [dict(zip(columns, row, strict=True)) for row in product(*values)] if columns else []


def _matrix_value(spot: Location) -> str:
    """Text or a whole number; GitLab refuses an unquoted `3.8` or `true` here."""
    value = spot.node.value
    if isinstance(value, bool | float):
        raise spot.error(f"must be a string or a whole number; put {spot.scalar_text()} in quotes")
    return spot.scalar_text()
