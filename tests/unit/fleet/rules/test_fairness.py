"""Fair order: a table of small queues, then what holds for every queue."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, strategies as st

from fleet.rules.fairness import fair_order

NOON = datetime(2026, 8, 20, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Waiter:
    project_id: int
    job_id: int
    pending_at: datetime = NOON


def queue(text: str) -> list[Waiter]:
    """`a1 b2` is job 1 of project a and, a second younger, job 2 of project b."""
    return [
        Waiter(
            project_id=ord(word[0]),
            job_id=int(word[1:]),
            pending_at=NOON + timedelta(seconds=at),
        )
        for at, word in enumerate(text.split())
    ]


def text_of(jobs: Sequence[Waiter]) -> str:
    return " ".join(f"{chr(job.project_id)}{job.job_id}" for job in jobs)


@pytest.mark.parametrize(
    ("backlog", "active", "order"),
    [
        pytest.param("", {}, "", id="no job waits"),
        pytest.param("a3 a1 a2", {}, "a3 a1 a2", id="one project: by age, not by id"),
        pytest.param("a1 a2 a3 b4", {}, "a1 b4 a2 a3", id="the only job of another is second"),
        pytest.param("a1 a2 b3 b4 c5", {}, "a1 b3 c5 a2 b4", id="in turns"),
        pytest.param("a1 a2 b3 b4", {"a": 1}, "b3 a1 b4 a2", id="who has a runner waits a turn"),
        pytest.param("a1 b2 b3 b4", {"a": 2}, "b2 b3 a1 b4", id="until the others have caught up"),
        pytest.param("a1 b2", {"a": 9, "z": 1}, "b2 a1", id="projects that do not wait are no one"),
        pytest.param("a1 b2", {"a": 3, "b": 3}, "a1 b2", id="equal runners: by age"),
    ],
)
def test_fair_order(backlog: str, active: dict[str, int], order: str) -> None:
    counts = {ord(project): count for project, count in active.items()}
    assert text_of(fair_order(queue(backlog), counts)) == order


def test_equal_age_goes_to_the_lower_id() -> None:
    jobs = [Waiter(project_id=7, job_id=20), Waiter(project_id=8, job_id=10)]
    assert [job.job_id for job in fair_order(jobs, {})] == [10, 20]


JOBS = st.lists(
    st.builds(
        Waiter,
        project_id=st.integers(1, 4),
        job_id=st.integers(1, 10_000),
        pending_at=st.integers(0, 20).map(lambda s: NOON + timedelta(seconds=s)),
    ),
    max_size=40,
    unique_by=lambda job: job.job_id,
)
ACTIVE = st.dictionaries(st.integers(1, 5), st.integers(0, 6))


def runners_when_served(
    order: Sequence[Waiter], active: Mapping[int, int]
) -> Iterator[tuple[Waiter, Counter[int]]]:
    """Each job with the runners that every project has at the moment when it is its turn."""
    held = Counter(dict(active))
    for job in order:
        yield job, held.copy()
        held[job.project_id] += 1


@given(JOBS, ACTIVE, st.randoms(use_true_random=False))
def test_the_order_is_max_min_fair_and_oldest_first(
    jobs: list[Waiter], active: dict[int, int], chance: Random
) -> None:
    order = fair_order(jobs, active)
    assert Counter(order) == Counter(jobs)
    for project in {job.project_id for job in jobs}:
        own = [(job.pending_at, job.job_id) for job in order if job.project_id == project]
        assert own == sorted(own)
    for place, (job, held) in enumerate(runners_when_served(order, active)):
        still_waiting = {later.project_id for later in order[place:]}
        assert held[job.project_id] == min(held[project] for project in still_waiting)
    shuffled = list(jobs)
    chance.shuffle(shuffled)
    assert fair_order(shuffled, active) == order
