"""Whose jobs are read next."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from fleet.rules.polls import ROUND_ROBIN, Watched, decide_polls
from tests.unit.fleet.facts import AT, ago

MINUTE = timedelta(minutes=1)


def watched(
    project_id: int,
    *,
    unread_s: float | None = 60,
    hook_s: float | None = None,
    healthy: bool = True,
) -> Watched:
    return Watched(
        project_id=project_id,
        instance="gitlab.example.com",
        last_hook_at=None if hook_s is None else ago(hook_s),
        last_polled_at=None if unread_s is None else ago(unread_s),
        hook_healthy=healthy,
    )


def read(*projects: Watched, at_most: int = 100) -> list[int]:
    return [poll.project_id for poll in decide_polls(projects, at=AT, at_most=at_most)]


POLLS: dict[str, Any] = {
    "no pipeline": ([], 9, []),
    "one": ([watched(1)], 9, [1]),
    "none allowed": ([watched(1)], 0, []),
    "the unhealthy one first": ([watched(1), watched(2, healthy=False)], 9, [2, 1]),
    "longest unread": ([watched(1, unread_s=60), watched(2, unread_s=120)], 9, [2, 1]),
    "never read before": ([watched(1, unread_s=9999), watched(2, unread_s=None)], 1, [2]),
    "a busy one as well": (
        [*(watched(i) for i in range(99)), watched(99, hook_s=900)], 99, [*range(10), 99]
    ),
    "it was busy long ago": (
        [*(watched(i) for i in range(99)), watched(99, hook_s=901)], 99, [*range(10)]
    ),
    "none is read twice": ([watched(1), watched(2, unread_s=120, hook_s=10)], 9, [2, 1]),
    "busy ones take turns when they are too many": (
        [watched(i, unread_s=60 + i, hook_s=10) for i in range(20)], 4, [19, 18, 17, 16]
    ),
    "ten quiet ones are few: all of them": (
        [watched(i, unread_s=60 + i) for i in range(11)], 99, [*range(10, 0, -1)]
    ),
    "a tenth of many quiet ones": (
        [watched(i, unread_s=60 + i) for i in range(200)], 99, [*range(199, 179, -1)]
    ),
    "a tenth, rounded up": (
        [watched(i, unread_s=60 + i) for i in range(201)], 99, [*range(200, 179, -1)]
    ),
    "more unhealthy ones than reads leave room for the others": (
        [watched(i, unread_s=60 + i, healthy=False) for i in range(5)] + [watched(9)], 4,
        [4, 3, 2, 9]
    ),
    "and use it when there are none": (
        [watched(i, unread_s=60 + i, healthy=False) for i in range(5)], 4, [4, 3, 2, 1]
    ),
    "a share no larger than the others need": (
        [watched(i, unread_s=60 + i, healthy=False) for i in range(50)] + [watched(50)], 20,
        [*range(49, 30, -1), 50]
    ),
    "a tenth of the reads, rounded up, and not more": (
        [watched(i, unread_s=60 + i, healthy=False) for i in range(11)]
        + [watched(11 + i, unread_s=60 + i) for i in range(40)],
        11, [*range(10, 1, -1), 50, 49]
    ),
}  # fmt: skip


@pytest.mark.parametrize(("projects", "at_most", "chosen"), POLLS.values(), ids=POLLS)
def test_decide_polls(projects: list[Watched], at_most: int, chosen: list[int]) -> None:
    assert read(*projects, at_most=at_most) == chosen


def minutes(projects: list[Watched], *, count: int, at_most: int) -> Iterator[set[int]]:
    """Choose and read, minute after minute; busy projects stay busy. Yields who was read."""
    known = {project.project_id: project for project in projects}
    at: datetime = AT
    for _ in range(count):
        chosen = {poll.project_id for poll in decide_polls(known.values(), at=at, at_most=at_most)}
        assert len(chosen) <= at_most
        yield chosen
        for item in known.values():
            known[item.project_id] = replace(
                item,
                last_polled_at=at if item.project_id in chosen else item.last_polled_at,
                last_hook_at=at if item.last_hook_at else None,
            )
        at += MINUTE


def longest_unread(projects: list[Watched], *, at_most: int, count: int = 200) -> dict[int, int]:
    """For how many minutes each project was not read, at worst."""
    last = {project.project_id: -1 for project in projects}
    worst = dict.fromkeys(last, 0)
    for minute, chosen in enumerate(minutes(projects, count=count, at_most=at_most)):
        for project_id in chosen:
            last[project_id] = minute
        for project_id, read_in in last.items():
            worst[project_id] = max(worst[project_id], minute - read_in)
    return worst


def fleet(*, unhealthy: int, busy: int, quiet: int) -> list[Watched]:
    """Projects never read: ids below 100 have unhealthy hooks, below 200 recent ones."""
    return [
        *(watched(i, unread_s=None, healthy=False) for i in range(unhealthy)),
        *(watched(100 + i, unread_s=None, hook_s=1) for i in range(busy)),
        *(watched(200 + i, unread_s=None) for i in range(quiet)),
    ]


@pytest.mark.parametrize(
    ("unhealthy", "busy", "quiet", "at_most"),
    [
        pytest.param(0, 0, 95, 10, id="all quiet"),
        pytest.param(3, 0, 60, 9, id="just enough"),
        pytest.param(5, 40, 50, 14, id="the busy ones alone would fill every minute"),
        pytest.param(0, 90, 1, 10, id="one quiet one among busy ones"),
        pytest.param(9, 0, 1, 10, id="one quiet one among unhealthy ones"),
    ],
)
def test_each_is_read_in_time_while_the_reads_suffice(
    unhealthy: int, busy: int, quiet: int, at_most: int
) -> None:
    projects = fleet(unhealthy=unhealthy, busy=busy, quiet=quiet)
    worst = longest_unread(projects, at_most=at_most)
    assert max(worst.values()) <= ROUND_ROBIN / MINUTE
    assert all(worst[i] == 0 for i in range(unhealthy))


def test_busy_pipelines_are_read_every_minute_while_the_reads_suffice() -> None:
    worst = longest_unread(fleet(unhealthy=2, busy=10, quiet=40), at_most=20)
    assert all(worst[100 + i] <= 5 for i in range(10))
    settled = list(minutes(fleet(unhealthy=2, busy=10, quiet=40), count=60, at_most=20))[10:]
    assert all({100 + i for i in range(10)} <= chosen for chosen in settled)


@pytest.mark.parametrize(
    ("unhealthy", "busy", "quiet", "at_most", "within"),
    [
        pytest.param(0, 0, 90, 3, 30, id="too many quiet ones"),
        pytest.param(0, 90, 90, 10, 20, id="too many busy ones"),
        pytest.param(60, 10, 10, 10, 20, id="too many unhealthy ones"),
        pytest.param(9, 3, 3, 2, 10, id="hardly any reads"),
    ],
)
def test_no_pipeline_starves_when_the_reads_do_not_suffice(
    unhealthy: int, busy: int, quiet: int, at_most: int, within: int
) -> None:
    projects = fleet(unhealthy=unhealthy, busy=busy, quiet=quiet)
    assert max(longest_unread(projects, at_most=at_most).values()) <= within
