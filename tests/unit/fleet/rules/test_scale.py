"""What a pool launches and drains, in examples; `test_scale_properties` has the whole rule."""

from dataclasses import replace
from typing import Any

import pytest

from fleet.model import Job, JobKey, Limits, RunnerState, ScalePlan, Snapshot
from fleet.reasons import Reason
from fleet.rules.scale import decide_scale, looks_again, wants_room
from tests.unit.fleet.facts import (
    AT,
    LIMITS,
    Facts,
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

TWO_WARM = replace(LIMITS, idle_target=2)
BY_TWOS = replace(LIMITS, launch_at_most=2)
FOR_ONE: Facts = {"project_id": 1}
FULL = {key(9): Reason.AT_CEILING}
REQUESTED = runner("requested", RunnerState.REQUESTED)


def waiting_reasons(plan: ScalePlan) -> dict[int, str]:
    return {key.job_id: reason.value for key, reason in plan.waiting.items()}


LAUNCHES: dict[str, Any] = {
    "nothing to do": (snapshot(), LIMITS, 0, 0, "balanced"),
    "one runner per job": (snapshot(jobs(3)), LIMITS, 3, 0, "backlog"),
    "the rest only": (snapshot(jobs(3), *booting(1), *idle(1)), LIMITS, 1, 0, "backlog"),
    "one that leaves covers no job": (
        snapshot(jobs(1), runner("a", RunnerState.DRAINING), runner("b", RunnerState.DONE)),
        LIMITS, 1, 0, "backlog"
    ),
    "up to the ceiling": (snapshot(jobs(9)), LIMITS, 5, 0, "backlog"),
    "not all in one go": (snapshot(jobs(4)), BY_TWOS, 2, 0, "backlog"),
    "warm is beyond need": (snapshot(jobs(2), *idle(2)), TWO_WARM, 0, 2, "idle_target"),
    "jobs before warm ones": (snapshot(jobs(4)), TWO_WARM, 4, 1, "backlog"),
    "given up": (snapshot((job(1, given_up=True),)), LIMITS, 0, 0, "attempts_used"),
    "dry no longer": (snapshot(jobs(1), dry_until=AT), LIMITS, 1, 0, "backlog"),
    "what a person must do is said first": (
        snapshot(jobs(1), dry_until=ago(-60), refused="no"), LIMITS, 0, 0, "configuration"
    ),
    "its own first, the shared one is for the other": (
        snapshot(jobs(1) + jobs(1, project=2), *idle(1, **FOR_ONE), *booting(1)), LIMITS, 0, 0,
        "covered"
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "limits", "launch", "warm", "reason"), LAUNCHES.values(), ids=LAUNCHES
)
def test_launches(facts: Snapshot, limits: Limits, launch: int, warm: int, reason: str) -> None:
    plan = decide_scale(facts, limits)
    assert (len(plan.launch), plan.warm, plan.reason) == (launch, warm, reason)
    assert plan.launches == launch + warm


DRAINS: dict[str, Any] = {
    "idle for long enough": (snapshot((), *idle(1, since_s=299)), LIMITS, [0]),
    "not yet": (snapshot((), *idle(1, since_s=298)), LIMITS, []),
    "longest first": (snapshot(jobs(1), *idle(3, since_s=300)), LIMITS, [0, 1]),
    "keeps the target": (snapshot((), *idle(3, since_s=300)), TWO_WARM, [0]),
    "no mailbox": (snapshot((), *idle(2, since_s=300, mailbox=None)), LIMITS, []),
    "drains one project's so that another finds room under the ceiling": (
        snapshot(jobs(1, project=2), *idle(1, since_s=300, **FOR_ONE), *busy(4)), LIMITS, [0]
    ),
    "counts from the launch when nothing else is known": (
        snapshot((), *idle(1, since_s=300, changed_at=None)), LIMITS, [0]
    ),
}  # fmt: skip


@pytest.mark.parametrize(("facts", "limits", "drained"), DRAINS.values(), ids=DRAINS)
def test_drains(facts: Snapshot, limits: Limits, drained: list[int]) -> None:
    plan = decide_scale(facts, limits)
    assert plan.drain == tuple(f"idle-{i}" for i in drained)


WAITS: dict[str, Any] = {
    "the oldest is covered": (snapshot(jobs(2), *idle(1)), LIMITS, {100: "covered"}),
    "the one that it was launched for is the covered one": (
        snapshot(jobs(2), *idle(1, for_job=key(101))), LIMITS, {101: "covered"}
    ),
    "a busy runner covers no job": (
        snapshot(jobs(2), *busy(1), *idle(1), runner("b", RunnerState.BUSY, for_job=key(101))),
        LIMITS, {100: "covered"}
    ),
    "one go reaches the ceiling": (snapshot(jobs(3), *busy(3)), BY_TWOS, {102: "at_ceiling"}),
    "each its own": (
        snapshot((*jobs(1), job(7, given_up=True)), *busy(5)), LIMITS,
        {100: "at_ceiling", 7: "attempts_used"}
    ),
}  # fmt: skip


@pytest.mark.parametrize(("facts", "limits", "waiting"), WAITS.values(), ids=WAITS)
def test_every_job_without_a_launch_has_a_reason(
    facts: Snapshot, limits: Limits, waiting: dict[int, str]
) -> None:
    plan = decide_scale(facts, limits)
    assert waiting_reasons(plan) == waiting
    assert {item.key for item in plan.launch} | set(plan.waiting) == {
        item.key for item in facts.backlog
    }


def test_takes_turns_between_projects_when_room_is_short() -> None:
    many, few = jobs(4), jobs(2, project=2)
    plan = decide_scale(snapshot(many + few), replace(LIMITS, ceiling=4))
    assert [item.project_id for item in plan.launch] == [1, 2, 1, 2]


def test_counts_what_a_project_has_already_in_its_turn() -> None:
    facts = snapshot(jobs(4) + jobs(1, project=2), *busy(2, project=1))
    assert [item.project_id for item in decide_scale(facts, LIMITS).launch] == [2, 1, 1]


@pytest.mark.parametrize(
    ("since_s", "backlog", "drained"),
    [
        pytest.param(19, snapshot(), False, id="kept a moment: the ledger may lag"),
        pytest.param(20, snapshot(), True, id="not kept for the whole idle time"),
        pytest.param(20, snapshot(jobs(1)), False, id="another job needs it"),
    ],
)
def test_a_runner_whose_job_was_cancelled_goes_soon(
    since_s: float, backlog: Snapshot, drained: bool
) -> None:
    orphan = runner("orphan", since_s=since_s, for_job=key(999))
    plan = decide_scale(replace(backlog, runners=(orphan,)), LIMITS)
    assert plan.drain == (("orphan",) if drained else ())


@pytest.mark.parametrize(
    ("backlog", "scope", "drained"),
    [
        pytest.param(jobs(1, project=1), None, False, id="jobs wait that it may take"),
        pytest.param(jobs(1, project=1), 2, True, id="jobs wait that it may not take"),
        pytest.param(jobs(1, project=2), 2, False, id="jobs of its own project wait"),
    ],
)
def test_a_spare_machine_is_kept_while_it_may_be_needed(
    backlog: tuple[Job, ...], scope: int | None, drained: bool
) -> None:
    """In a burst each runner takes another's job: its own waits no longer, and it is not spare."""
    spare = runner("spare", since_s=20, for_job=key(999), project_id=scope)
    another = runner("another", since_s=1, for_job=key(998), project_id=scope)
    facts = snapshot(backlog, spare, another)
    assert ("spare" in decide_scale(facts, LIMITS).drain) == drained


def test_a_spare_machine_is_kept_no_longer_than_the_pool_s_idle_time() -> None:
    orphan = runner("orphan", since_s=5, for_job=key(999))
    plan = decide_scale(snapshot((), orphan), replace(LIMITS, idle_time_s=5))
    assert plan.drain == ("orphan",)


@pytest.mark.parametrize(
    ("reason", "waiting", "expected"),
    [
        (Reason.AT_CEILING, {}, True),
        (Reason.GITLAB_REFUSES, {}, True),
        (Reason.BALANCED, {}, False),
        (Reason.BACKLOG, {key(1): Reason.AT_CEILING}, True),
        (Reason.BACKLOG, {key(1): Reason.NO_CAPACITY_UNTIL}, False),
    ],
)
def test_an_ended_machine_makes_room_for_a_waiting_job(
    reason: Reason, waiting: dict[JobKey, Reason], expected: bool
) -> None:
    assert wants_room(ScalePlan(reason=reason, waiting=waiting)) is expected


@pytest.mark.parametrize(
    ("plan", "facts", "expected"),
    [
        pytest.param({}, {"machines": 2}, False, id="all machines are there"),
        pytest.param({"again": True}, {"machines": 2}, True, id="the plan itself was cut short"),
        pytest.param({}, {"machines": 1}, True, id="the cloud gave fewer"),
        pytest.param({}, {"machines": 1, "held": 1}, False, id="GitLab gave fewer credentials"),
        pytest.param({"waiting": FULL}, {"machines": 2}, True, id="full since now"),
        pytest.param({"waiting": FULL}, {"machines": 2, "was_full": True}, False, id="full before"),
        pytest.param({}, {"machines": 2, "was_held": True}, True, id="GitLab gives them again"),
        pytest.param({}, {"held": 2, "was_held": True}, False, id="GitLab gives none as before"),
        pytest.param(
            {"waiting": FULL}, {"held": 2, "was_full": True}, True, id="the refused leave room"
        ),
    ],
)
def test_a_round_looks_again_while_there_is_more_to_do(
    plan: Facts, facts: Facts, expected: bool
) -> None:
    decided = ScalePlan(reason=Reason.BACKLOG, warm=2, **plan)
    before: Facts = {"machines": 0, "held": 0, "was_full": False, "was_held": False}
    assert looks_again(decided, **(before | facts)) is expected
