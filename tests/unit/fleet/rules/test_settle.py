"""What closes the books: the rule as a table of sentences."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import pytest

from fleet.model import Runner, RunnerState
from fleet.reasons import Reason
from fleet.rules.liveness import FRESH
from fleet.rules.settle import (
    GRACE_ROUNDS,
    Happening,
    SettleFacts,
    SettlePlan,
    decide_settle,
    took_uncounted,
    wakes_scaling,
)
from tests.unit.fleet.facts import job, key, runner

REQUESTED, IN_FLIGHT, IDLE, BUSY, DRAINING, DONE = RunnerState
FINISHED, GONE = Happening.FINISHED, Happening.MACHINE_GONE
SPOT, FAILED = Happening.SPOT_NOTICE, Happening.INVOCATION_FAILED
AT_WORK = runner("r", BUSY, job=key(7))
ELSEWHERE = runner("r", BUSY, job=key(8))
LEFT = runner("r", DONE, job=key(7))
LAST = GRACE_ROUNDS
SPEAKS = FRESH - timedelta(seconds=1)
DEAD: dict[str, Any] = {"machine_alive": False}
FREE: dict[str, Any] = {"job_running": False, "ran_there": True}
LAMBDA: dict[str, Any] = {"ends_alone": True, "silent_for": FRESH}


def facts(happening: Happening, runner: Runner | None = None, **more: object) -> SettleFacts:
    first = SettleFacts(happening=happening, round=0, job=key(7), runner=runner)
    return replace(first, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "plan"),
    [
        pytest.param(
            facts(FINISHED), SettlePlan(reason=Reason.FINISHED), id="it ended on no runner of ours"
        ),
        pytest.param(
            facts(GONE), SettlePlan(reason=Reason.NO_RECORD), id="a machine that we do not know"
        ),
        pytest.param(facts(SPOT), SettlePlan(reason=Reason.NO_RECORD), id="nor this one"),
        pytest.param(
            facts(FINISHED, LEFT), SettlePlan(reason=Reason.FINISHED, close=True), id="it left"
        ),
        pytest.param(
            facts(FINISHED, AT_WORK),
            SettlePlan(reason=Reason.GRACE, wait_s=2), id="a moment to end by itself",
        ),
        pytest.param(
            facts(FINISHED, AT_WORK, round=LAST - 1, job_running=False),
            SettlePlan(reason=Reason.GRACE, wait_s=15), id="and one more",
        ),
        pytest.param(
            facts(FINISHED, AT_WORK, round=LAST),
            SettlePlan(reason=Reason.GRACE, ask=True), id="still there: ask GitLab",
        ),
        pytest.param(
            facts(FINISHED, AT_WORK, round=LAST, job_running=True, ran_there=True),
            SettlePlan(reason=Reason.STILL_BUSY), id="GitLab says that it took another job",
        ),
        pytest.param(
            facts(FINISHED, AT_WORK, round=LAST, **FREE),
            SettlePlan(reason=Reason.FINISHED, close=True), id="GitLab says that it is free",
        ),
        pytest.param(
            facts(FINISHED, AT_WORK, round=LAST, ends_alone=True),
            SettlePlan(reason=Reason.ENDS_ALONE), id="only it can end itself: it counts until then",
        ),
        pytest.param(
            facts(FINISHED, LEFT, round=LAST, ends_alone=True),
            SettlePlan(reason=Reason.FINISHED, close=True), id="it ended itself",
        ),
        pytest.param(
            facts(FINISHED, runner("r", BUSY), round=LAST, **FREE),
            SettlePlan(reason=Reason.FINISHED, close=True), id="at work, on what it did not say",
        ),
        pytest.param(
            facts(FINISHED, ELSEWHERE), SettlePlan(reason=Reason.STILL_BUSY), id="another job's"
        ),
        pytest.param(
            facts(FINISHED, ELSEWHERE, round=LAST, **FREE),
            SettlePlan(reason=Reason.STILL_BUSY), id="another job's, however often it is looked at",
        ),
        pytest.param(
            facts(FINISHED, runner("r", DRAINING, job=key(8)), round=LAST, **FREE),
            SettlePlan(reason=Reason.FINISHED, close=True), id="drains, and GitLab agrees",
        ),
        pytest.param(
            facts(SPOT, runner("r")), SettlePlan(reason=Reason.SPOT_NOTICE, drain=True),
            id="spot notice: takes no job any more",
        ),
        pytest.param(
            facts(SPOT, AT_WORK), SettlePlan(reason=Reason.SPOT_NOTICE),
            id="spot notice at work: its agent sees it too",
        ),
        pytest.param(
            facts(GONE, runner("r", IN_FLIGHT), **DEAD),
            SettlePlan(reason=Reason.MACHINE_GONE, close=True, relaunch=True), id="died booting",
        ),
        pytest.param(
            facts(GONE, AT_WORK, **DEAD), SettlePlan(reason=Reason.MACHINE_GONE, close=True),
            id="died at work: its job is a matter of retry",
        ),
        pytest.param(
            facts(GONE, runner("r", BUSY), **DEAD),
            SettlePlan(reason=Reason.MACHINE_GONE, close=True),
            id="died at work that it did not name",
        ),
        pytest.param(
            facts(GONE, runner("r", IDLE, job=key(7)), **DEAD),
            SettlePlan(reason=Reason.MACHINE_GONE, close=True),
            id="died before it said that it works, but a webhook had said so",
        ),
        pytest.param(
            facts(GONE, runner("r", DONE, for_job=key(7)), **DEAD),
            SettlePlan(reason=Reason.WENT_UNSERVED, close=True, relaunch=True),
            id="ended without a job",
        ),
        pytest.param(
            facts(GONE, runner("r", DONE), **DEAD),
            SettlePlan(reason=Reason.MACHINE_GONE, close=True),
            id="a warm runner ended without a job",
        ),
        pytest.param(
            facts(GONE, runner("r", DONE, for_job=key(7), left_bare=True), **DEAD),
            SettlePlan(reason=Reason.MACHINE_GONE, close=True),
            id="ended without a credential, while GitLab gave out none",
        ),
        pytest.param(
            facts(GONE, runner("r", DRAINING), **DEAD),
            SettlePlan(reason=Reason.MACHINE_GONE, close=True),
            id="ended after its order: no job counts on it any more",
        ),
        pytest.param(
            facts(FAILED, runner("r", IN_FLIGHT), **LAMBDA),
            SettlePlan(reason=Reason.INVOCATION_FAILED, close=True, relaunch=True),
            id="the function failed before it took a job",
        ),
        pytest.param(
            facts(FAILED, AT_WORK, silent_for=FRESH),
            SettlePlan(reason=Reason.UNCONFIRMED), id="a machine that is no function",
        ),
        pytest.param(
            facts(FAILED, AT_WORK, ends_alone=True, silent_for=SPEAKS),
            SettlePlan(reason=Reason.GRACE, wait_s=45), id="it reported just now: wait for more",
        ),
        pytest.param(
            facts(FAILED, AT_WORK, ends_alone=True, silent_for=SPEAKS, round=1),
            SettlePlan(reason=Reason.UNCONFIRMED), id="it goes on to report",
        ),
        pytest.param(
            facts(GONE, AT_WORK, machine_alive=True), SettlePlan(reason=Reason.UNCONFIRMED),
            id="its cloud shows it alive",
        ),
        pytest.param(
            facts(GONE, AT_WORK), SettlePlan(reason=Reason.UNCONFIRMED), id="its cloud cannot say"
        ),
        pytest.param(
            facts(FINISHED, AT_WORK, round=LAST, job_running=False),
            SettlePlan(reason=Reason.UNCONFIRMED), id="GitLab shows the job elsewhere, or not over",
        ),
        pytest.param(
            facts(FAILED, AT_WORK, **LAMBDA), SettlePlan(reason=Reason.MACHINE_GONE, close=True),
            id="the function failed at work",
        ),
        pytest.param(
            facts(FAILED, runner("r", BUSY), **LAMBDA),
            SettlePlan(reason=Reason.MACHINE_GONE, close=True),
            id="the function failed at work that it did not name",
        ),
        pytest.param(
            facts(FAILED, runner("r", IDLE, job=key(7)), **LAMBDA),
            SettlePlan(reason=Reason.MACHINE_GONE, close=True),
            id="the function failed at work that only a webhook reports",
        ),
    ],
)  # fmt: skip
def test_decide_settle(facts: SettleFacts, plan: SettlePlan) -> None:
    assert decide_settle(facts) == plan


def every_fact() -> Iterator[SettleFacts]:
    return (
        SettleFacts(
            happening=happening,
            round=turn,
            job=job,
            runner=given,
            job_running=job_running,
            ran_there=ran_there,
            ends_alone=ends_alone,
            machine_alive=alive,
            silent_for=silent_for,
        )
        for given in (
            None,
            runner("r", DONE, for_job=key(7)),
            *(
                runner("r", state, job=took)
                for state in RunnerState
                for took in (None, key(7), key(8))
            ),
        )
        for happening in Happening
        for turn in range(GRACE_ROUNDS + 3)
        for job in (None, key(7))
        for job_running in (None, True, False)
        for ran_there in (False, True)
        for ends_alone in (False, True)
        for alive in (None, True, False)
        for silent_for in (SPEAKS, FRESH)
    )


@cache
def plans() -> tuple[tuple[SettleFacts, SettlePlan], ...]:
    """All facts there can be, and what is done about them."""
    return tuple((facts, decide_settle(facts)) for facts in every_fact())


def test_never_closes_a_runner_at_work_for_another_job() -> None:
    """Unless its machine is gone: then there is nothing left to keep."""
    for facts, plan in plans():
        gone = facts.happening in {GONE, FAILED}
        if plan.close and not gone:
            assert facts.runner is not None
            at_work = facts.runner.state is BUSY and facts.runner.job is not None
            assert not at_work or facts.runner.job == facts.job, facts


def test_a_job_s_end_closes_only_with_a_second_sign() -> None:
    for facts, plan in plans():
        if facts.happening is FINISHED and plan.close:
            assert facts.runner is not None
            left = facts.runner.state is DONE
            assert left or (facts.job_running is False and facts.ran_there), facts


def test_an_event_of_a_machine_closes_only_what_another_source_shows_as_gone() -> None:
    for facts, plan in plans():
        if facts.happening is GONE and plan.close:
            assert facts.machine_alive is False, facts
        if facts.happening is FAILED and plan.close:
            assert facts.ends_alone, facts
            assert facts.silent_for >= FRESH, facts
        if facts.happening is SPOT:
            assert not plan.close, facts


def test_a_plan_waits_asks_closes_or_drains_but_never_two_of_them() -> None:
    for facts, plan in plans():
        asked = [plan.wait_s is not None, plan.ask, plan.close, plan.drain]
        assert sum(asked) <= 1, facts
        assert plan.close or not plan.relaunch, facts


def test_comes_to_an_end_after_its_rounds() -> None:
    for facts, plan in plans():
        assert plan.wait_s is None or facts.round < GRACE_ROUNDS, facts
        assert not plan.ask or facts.job_running is None, facts


@pytest.mark.parametrize(
    ("pool", "reason", "uncounted"),
    [
        ("docker", Reason.ROUTED, False),
        ("docker", Reason.OVERFLOW, False),
        ("docker", Reason.COVERED, False),
        ("docker", Reason.AT_CEILING, False),
        ("big", Reason.ROUTED, True),
        (None, Reason.NO_POOL, True),
        (None, Reason.UNTAGGED, True),
        (None, Reason.UNPROTECTED, True),
        (None, Reason.PROTECTION_UNKNOWN, True),
        (None, None, True),
        ("docker", None, True),  # the pool was noted when it was taken
        ("docker", Reason.NO_POOL, True),
    ],
)
def test_a_job_was_counted_where_it_had_been_routed_to_the_pool_of_who_took_it(
    pool: str | None, reason: Reason | None, uncounted: bool
) -> None:
    taken = job(7, pool=pool, reason=reason)
    assert took_uncounted(taken, runner("r", pool="docker")) == uncounted


@pytest.mark.parametrize(
    ("plan", "idle_target", "wants_room", "expected"),
    [
        ({"close": True}, 0, False, False),
        ({"close": True}, 1, False, True),
        ({"close": True}, 0, True, True),
        ({"close": True, "relaunch": True}, 0, False, True),
        ({"drain": True}, 0, False, True),
        ({"wait_s": 2}, 1, True, False),
    ],
)
def test_most_ends_wake_nothing(
    plan: dict[str, Any], idle_target: int, wants_room: bool, expected: bool
) -> None:
    decided = SettlePlan(reason=Reason.FINISHED, **plan)
    assert wakes_scaling(decided, idle_target=idle_target, wants_room=wants_room) is expected
