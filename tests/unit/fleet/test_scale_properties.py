"""The scaling rule on any facts at all, likely or not; and no project hides another."""

from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from fleet.model import Job, Limits, Runner, RunnerState, Snapshot
from fleet.reasons import Reason
from fleet.rules.scale import decide_scale
from tests.unit.fleet.facts import (
    LIMITS,
    ago,
    booting,
    busy,
    idle,
    job,
    jobs,
    key,
    runner,
    snapshot,
)
from tests.unit.fleet.scale_checks import check_plan

PROJECTS = st.integers(1, 3)
SINCE_S = st.sampled_from([0, 60, 299, 300, 301, 900])


@st.composite
def waiting_jobs(draw: st.DrawFn) -> tuple[Job, ...]:
    facts = st.tuples(PROJECTS, st.integers(0, 900), st.sampled_from([False, False, True]))
    return tuple(
        job(i, project=project, waits_s=waits_s, given_up=given_up)
        for i, (project, waits_s, given_up) in enumerate(draw(st.lists(facts, max_size=8)))
    )


@st.composite
def runners(draw: st.DrawFn) -> tuple[Runner, ...]:
    count = draw(st.integers(0, 8))
    shared = draw(st.booleans())
    return tuple(
        runner(
            f"r{i}",
            draw(st.sampled_from(RunnerState)),
            since_s=draw(SINCE_S),
            project_id=None if shared else draw(st.none() | PROJECTS),
            for_job=draw(st.none() | st.integers(0, 9).map(key)),
            works_for=draw(st.none() | PROJECTS),
            mailbox=draw(st.sampled_from(["mailbox", "mailbox", None])),
        )
        for i in range(count)
    )


SNAPSHOTS = st.builds(
    lambda backlog, alive, dry, refused: snapshot(backlog, *alive, dry_until=dry, refused=refused),
    waiting_jobs(),
    runners(),
    st.sampled_from([None, None, None, ago(0), ago(-1)]),
    st.sampled_from([None, None, None, None, "no such image"]),
)
ANY_LIMITS = st.builds(
    lambda ceiling, idle_target, at_most: replace(
        LIMITS, ceiling=ceiling, idle_target=idle_target, launch_at_most=at_most
    ),
    st.integers(0, 12),
    st.sampled_from([0, 0, 1, 2, 4]),
    st.integers(1, 4),
)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(SNAPSHOTS, ANY_LIMITS)
def test_every_plan_is_right(facts: Snapshot, limits: Limits) -> None:
    check_plan(facts, limits)


THOUSANDS = jobs(5000)
ONE = (job(1, project=2, waits_s=1),)


@pytest.mark.parametrize(
    "alive",
    [
        pytest.param(busy(1), id="one of its runners works"),
        pytest.param(booting(1, works_for=1, for_job=THOUSANDS[0].key), id="one boots"),
        pytest.param((*busy(40), *booting(9, works_for=1)), id="many of them are there"),
        pytest.param(idle(3) + busy(40), id="what is idle covers its oldest ones"),
        pytest.param(busy(1) + busy(1, project=2), id="both have one; two are launched"),
    ],
)
def test_five_thousand_jobs_of_one_project_do_not_hide_another_s_one(
    alive: tuple[Runner, ...],
) -> None:
    room = 2 if any(runner.works_for == 2 for runner in alive) else 1
    facts = snapshot(THOUSANDS + ONE, *alive)
    plan = decide_scale(facts, replace(LIMITS, ceiling=len(alive) + room))
    assert len(plan.launch) == room
    assert ONE[0] in plan.launch


def test_with_nothing_running_yet_it_is_among_the_first_two() -> None:
    plan = decide_scale(snapshot(THOUSANDS + ONE), replace(LIMITS, ceiling=2))
    assert plan.launch == (THOUSANDS[0], ONE[0])


def test_five_thousand_jobs_all_have_a_reason_why_they_wait() -> None:
    plan = decide_scale(snapshot(THOUSANDS), replace(LIMITS, ceiling=100, launch_at_most=50))
    assert len(plan.launch) == 50
    assert plan.again
    assert set(plan.waiting.values()) == {Reason.PACED}
    assert len(plan.waiting) == 4950
