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
FREE: dict[str, Any] = {"job_running": False, "ran_there": True}


def facts(happening: Happening, runner: Runner | None = None, **more: object) -> SettleFacts:
    first = SettleFacts(happening=happening, round=0, job=key(7), runner=runner)
    return replace(first, **more)  # type: ignore[arg-type]


def last(runner: Runner, **more: object) -> SettleFacts:
    """Its job ended, and all rounds of grace are over."""
    return facts(FINISHED, runner, round=LAST, **more)


def dead(state: RunnerState, **of: Any) -> SettleFacts:
    """Its machine ended, as its cloud confirms."""
    return facts(GONE, runner("r", state, **of), machine_alive=False)


def failed(ended: Runner, **more: object) -> SettleFacts:
    """Its invocation failed, and it reports no more."""
    silent: dict[str, object] = {"ends_alone": True, "silent_for": FRESH}
    return facts(FAILED, ended, **silent | more)


def plan(reason: str, *does: str, wait_s: int | None = None) -> SettlePlan:
    return SettlePlan(reason=Reason(reason), wait_s=wait_s, **dict.fromkeys(does, True))


CLOSES = ("machine_gone", "close")
CASES: dict[str, tuple[SettleFacts, SettlePlan]] = {
    "it ended on no runner of ours": (facts(FINISHED), plan("finished")),
    "a machine that we do not know": (facts(GONE), plan("no_record")),
    "nor this one": (facts(SPOT), plan("no_record")),
    "it left": (facts(FINISHED, LEFT), plan("finished", "close")),
    "a moment to end by itself": (facts(FINISHED, AT_WORK), plan("grace", wait_s=2)),
    "and one more": (
        facts(FINISHED, AT_WORK, round=LAST - 1, job_running=False), plan("grace", wait_s=15)
    ),
    "still there: ask GitLab": (last(AT_WORK), plan("grace", "ask")),
    "GitLab says that it took another job": (
        last(AT_WORK, job_running=True, ran_there=True), plan("still_busy")
    ),
    "GitLab says that it is free": (last(AT_WORK, **FREE), plan("finished", "close")),
    "GitLab shows the job elsewhere, or not over": (
        last(AT_WORK, job_running=False), plan("unconfirmed")
    ),
    "only it can end itself: it counts until then": (
        last(AT_WORK, ends_alone=True), plan("ends_alone")
    ),
    "it ended itself": (last(LEFT, ends_alone=True), plan("finished", "close")),
    "at work, on what it did not say": (
        last(runner("r", BUSY), **FREE), plan("finished", "close")
    ),
    "another job's": (facts(FINISHED, ELSEWHERE), plan("still_busy")),
    "another job's, however often it is looked at": (last(ELSEWHERE, **FREE), plan("still_busy")),
    "drains, and GitLab agrees": (
        last(runner("r", DRAINING, job=key(8)), **FREE), plan("finished", "close")
    ),
    "spot notice: takes no other job": (
        facts(SPOT, runner("r")), plan("spot_notice", "drain")
    ),
    "spot notice at work: its agent sees it too": (facts(SPOT, AT_WORK), plan("spot_notice")),
    "died booting": (dead(IN_FLIGHT), plan("machine_gone", "close", "relaunch")),
    "died at work: its job is a matter of retry": (dead(BUSY, job=key(7)), plan(*CLOSES)),
    "died at work that it did not name": (dead(BUSY), plan(*CLOSES)),
    "died before it said that it works, but a webhook had said so": (
        dead(IDLE, job=key(7)), plan(*CLOSES)
    ),
    "ended without a job": (
        dead(DONE, for_job=key(7)), plan("went_unserved", "close", "relaunch")
    ),
    "a warm runner ended without a job": (dead(DONE), plan(*CLOSES)),
    "ended after a job, it says, before GitLab's events": (
        dead(DONE, for_job=key(7), claim=key(8)), plan("grace", wait_s=15)
    ),
    "GitLab has named its job meanwhile": (
        replace(dead(DONE, for_job=key(7), claim=key(8), job=key(8)), round=1), plan(*CLOSES)
    ),
    "GitLab has named none": (
        replace(dead(DONE, for_job=key(7), claim=key(8)), round=1),
        plan("went_unserved", "close", "relaunch"),
    ),
    "ended without a credential, while GitLab gave out none": (
        dead(DONE, for_job=key(7), left_bare=True), plan(*CLOSES)
    ),
    "ended after its order: no job counts on it": (dead(DRAINING), plan(*CLOSES)),
    "its cloud shows it alive": (
        facts(GONE, AT_WORK, machine_alive=True), plan("unconfirmed")
    ),
    "its cloud cannot say": (facts(GONE, AT_WORK), plan("unconfirmed")),
    "the function failed before it took a job": (
        failed(runner("r", IN_FLIGHT)), plan("invocation_failed", "close", "relaunch")
    ),
    "a machine that is no function": (failed(AT_WORK, ends_alone=False), plan("unconfirmed")),
    "it reported just now: wait for more": (
        failed(AT_WORK, silent_for=SPEAKS), plan("grace", wait_s=45)
    ),
    "it goes on to report": (failed(AT_WORK, silent_for=SPEAKS, round=1), plan("unconfirmed")),
    "the function failed at work": (failed(AT_WORK), plan(*CLOSES)),
    "the function failed at work that it did not name": (
        failed(runner("r", BUSY)), plan(*CLOSES)
    ),
    "the function failed at work that only a webhook reports": (
        failed(runner("r", IDLE, job=key(7))), plan(*CLOSES)
    ),
}  # fmt: skip


@pytest.mark.parametrize(("facts", "plan"), CASES.values(), ids=CASES)
def test_decide_settle(facts: SettleFacts, plan: SettlePlan) -> None:
    assert decide_settle(facts) == plan


def every_fact() -> Iterator[SettleFacts]:
    return (
        SettleFacts(
            happening=happening,
            round=turn,
            job=job,
            runner=candidate,
            job_running=job_running,
            ran_there=ran_there,
            ends_alone=ends_alone,
            machine_alive=alive,
            silent_for=silent_for,
        )
        for candidate in (
            None,
            runner("r", DONE, for_job=key(7)),
            *(
                runner("r", state, job=took)
                for state in RunnerState
                for took in (None, key(7), key(8))
            ),
        )
        for happening in Happening
        for turn in (0, 1, GRACE_ROUNDS - 1, GRACE_ROUNDS, GRACE_ROUNDS + 1)
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
            is_done = facts.runner.state is DONE
            assert is_done or (facts.job_running is False and facts.ran_there), facts


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
        requests = [plan.wait_s is not None, plan.ask, plan.close, plan.drain]
        assert sum(requests) <= 1, facts
        assert plan.close or not plan.relaunch, facts


def test_a_settlement_ends_after_its_rounds() -> None:
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
