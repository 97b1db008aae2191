"""Whose job is next: max-min fairness between projects, oldest first within one."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Protocol, TypeVar


class Waiting(Protocol):
    """The facts of a waiting job that fairness compares."""

    @property
    def project_id(self) -> int: ...
    @property
    def pending_at(self) -> datetime: ...
    @property
    def job_id(self) -> int: ...


W = TypeVar("W", bound=Waiting)


def fair_order(backlog: Iterable[W], active_by_project: Mapping[int, int]) -> tuple[W, ...]:
    """The backlog in the order in which runners should be launched for it.

    Each turn goes to the oldest job of the project with the fewest runners: those it has
    (`active_by_project`) and those it got in earlier turns. Ties go to the job that waits longest,
    then to the lower job id. So one project's thousands never hide another project's single job.
    """
    given = Counter(dict(active_by_project))
    turns: list[tuple[int, W]] = []
    for job in sorted(backlog, key=lambda job: (job.pending_at, job.job_id)):
        turns.append((given[job.project_id], job))
        given[job.project_id] += 1
    # Within a project the turns grow with the age order, so sorting by turn is taking turns.
    # The sort is stable: jobs of one turn stay in the order of their age.
    turns.sort(key=lambda turn: turn[0])
    return tuple(job for _, job in turns)
