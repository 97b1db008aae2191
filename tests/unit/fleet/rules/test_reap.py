"""What becomes of a runner that may be lost: the rule as a table of sentences."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from fleet.model import Runner, RunnerState
from fleet.reasons import Reason
from fleet.rules.reap import (
    Fate,
    ReapPlan,
    Stray,
    Suspect,
    decide_reap,
    decide_strays,
)
from tests.unit.fleet.facts import AT, LIMITS, Facts, ago, key, runner

REQUESTED, IN_FLIGHT, IDLE, BUSY, DRAINING, DONE = RunnerState
ON_MACHINE: Facts = {"machine_id": "i-1", "gitlab_runner_id": 31}
JOB: Facts = {"job": key(7)}
FOR_JOB: Facts = {"for_job": key(7)}
SILENT: Facts = {"heartbeat_at": ago(300)}
HEARD: Facts = {"heartbeat_at": ago(299)}
EXPIRED: Facts = {"expires_at": AT}
CALLED_OFF: Facts = {"is_called_off": True}


def lost(state: RunnerState, since_s: float = 60, *facts: Facts, **more: Any) -> Runner:
    fields = {name: value for each in (*facts, more) for name, value in each.items()}
    return runner("r", state, since_s=since_s, **fields)


def goodbye(since_s: float, *facts: Facts, **more: Any) -> Runner:
    """A runner that said goodbye so long ago."""
    return lost(DONE, since_s, ON_MACHINE, *facts, **more)


WORKS = lost(BUSY, 60, ON_MACHINE, JOB, HEARD)
SILENT_AT_WORK = lost(BUSY, 60, ON_MACHINE, JOB, SILENT)
NEVER_HEARD = lost(BUSY, 300, ON_MACHINE, JOB)
LATE = lost(IN_FLIGHT, 300, ON_MACHINE)
# The runner, whether its cloud shows its machine, and what becomes of it.
BEFORE: dict[str, tuple[Runner, bool | None, str]] = {
    "at work and heard of": (WORKS, True, "keep healthy"),
    "at work, the cloud was not asked": (WORKS, None, "keep healthy"),
    "idle": (lost(IDLE, 60, ON_MACHINE, HEARD), True, "keep healthy"),
    "its machine ended under a job": (WORKS, False, "close machine_gone"),
    "it ended before a job": (lost(IDLE, 60, ON_MACHINE), False, "relaunch machine_gone"),
    "it ended after its order": (lost(DRAINING, 60, ON_MACHINE), False, "close machine_gone"),
    "no machine yet is not a lost one": (lost(REQUESTED), False, "keep healthy"),
    "it says that its job is over: ask GitLab": (goodbye(30, JOB), True, "ask finished"),
    "GitLab gave it nothing, as it says": (goodbye(30, FOR_JOB), True, "ask went_unserved"),
    "GitLab gave it nothing, a moment ago": (goodbye(29, FOR_JOB), True, "keep went_unserved"),
    "GitLab gave it nothing, and it powered off at once": (
        goodbye(1, FOR_JOB), False, "relaunch went_unserved"
    ),
    "it powered off after a job, it says, which delays nothing here": (
        goodbye(1, FOR_JOB, claim=key(8)), False, "relaunch went_unserved"
    ),
    "scaling read the claim 59 s ago: the job's events may still come": (
        goodbye(1, FOR_JOB, claim=key(8), claimed_at=ago(59)), False, "keep grace"
    ),
    "no event within a minute of the claim": (
        goodbye(1, FOR_JOB, claim=key(8), claimed_at=ago(60)), False, "relaunch went_unserved"
    ),
    "GitLab named its job: there is nothing to wait for": (
        goodbye(1, JOB, claim=key(7), claimed_at=ago(1)), False, "close machine_gone"
    ),
    "it powered off after its job": (goodbye(1, JOB, FOR_JOB), False, "close machine_gone"),
    "it got no credential, as GitLab was out": (
        goodbye(30, FOR_JOB, left_bare=True), True, "ask went_unserved"
    ),
    "it got one later, but no job": (
        lost(DONE, 30, FOR_JOB, left_bare=True, equipped=True), True, "ask went_unserved"
    ),
    "its goodbye is dated tomorrow: expiry ends the wait": (
        lost(DONE, -86400, FOR_JOB, EXPIRED), True, "relaunch went_unserved"
    ),
    "drained before it ever called home": (
        lost(DRAINING, 9999, FOR_JOB, ON_MACHINE), True, "ask boot_deadline"
    ),
    "said goodbye, launched for no job in particular": (goodbye(30), True, "ask went_unserved"),
    "said goodbye just now": (goodbye(29), True, "keep went_unserved"),
    "its goodbye was its last heartbeat": (
        lost(DONE, 900, changed_at=None, heartbeat_at=ago(29)), True, "keep went_unserved"
    ),
    "its goodbye was heard a second time": (
        lost(DONE, 30, heartbeat_at=ago(1)), True, "close went_unserved"
    ),
    "its goodbye has no time": (lost(DONE, 900, changed_at=None), True, "close went_unserved"),
    "expired at work": (lost(BUSY, 60, ON_MACHINE, JOB, HEARD, EXPIRED), True, "close expired"),
    "one second to go": (lost(BUSY, 60, JOB, HEARD, expires_at=ago(-1)), True, "keep healthy"),
    "boots": (lost(IN_FLIGHT, 299, ON_MACHINE), True, "keep healthy"),
    "did not come: ask GitLab first": (LATE, True, "ask boot_deadline"),
    "did not come, and GitLab has no record of it": (
        lost(IN_FLIGHT, 300), True, "relaunch boot_deadline"
    ),
    "the cloud never answered: no attempt is lost": (
        lost(REQUESTED, 300), None, "close boot_deadline"
    ),
    "a webhook says that it took a job": (lost(IN_FLIGHT, 300, JOB), True, "ask boot_deadline"),
    "silent at work: ask first": (SILENT_AT_WORK, True, "ask stalled"),
    "silent at an unknown job": (lost(BUSY, 60, SILENT), True, "ask stalled"),
    "silent, no job, no record": (lost(IDLE, 60, SILENT), True, "close stalled"),
    "silent, and the record that it asks with is the pool's: it may have a job": (
        lost(IDLE, 60, SILENT, equipped=True), True, "ask stalled"
    ),
    "called home for its job, and was never heard of again": (
        lost(IDLE, 60, SILENT, FOR_JOB), True, "relaunch stalled"
    ),
    "silent, but AWS took it back: that is not the job's fault": (
        lost(IDLE, 60, SILENT, FOR_JOB, CALLED_OFF), True, "close stalled"
    ),
    "AWS took it back before its job": (
        lost(IDLE, 60, FOR_JOB, CALLED_OFF, ON_MACHINE), False, "close machine_gone"
    ),
    "said goodbye after its order": (
        lost(DONE, 30, FOR_JOB, CALLED_OFF), True, "close went_unserved"
    ),
    "expired before its job": (
        lost(IDLE, 60, FOR_JOB, HEARD, EXPIRED), True, "relaunch expired"
    ),
    "silent while it drains": (lost(DRAINING, 60, ON_MACHINE, SILENT), True, "ask stalled"),
    "GitLab gave it a job, and it has not been heard of yet": (
        lost(BUSY, 299, ON_MACHINE, JOB), True, "keep healthy"
    ),
    "GitLab gave it a job, and it was never heard of: its end may be unseen, too": (
        NEVER_HEARD, True, "ask stalled"
    ),
    "never heard of, and since when it works is not known": (
        lost(BUSY, 300, ON_MACHINE, JOB, changed_at=None), None, "ask stalled"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("lost", "alive", "expected"), BEFORE.values(), ids=BEFORE)
def test_before_gitlab_is_asked(lost: Runner, alive: bool | None, expected: str) -> None:
    plan = decide_reap(Suspect(runner=lost, machine_alive=alive), LIMITS, at=AT)
    assert (f"{plan.fate} {plan.reason}", plan.runner) == (expected, lost)


@pytest.mark.parametrize(
    ("lost", "job_running", "expected"),
    [
        pytest.param(SILENT_AT_WORK, True, "keep stalled_but_busy", id="it works"),
        pytest.param(SILENT_AT_WORK, False, "close stalled", id="it does not"),
        pytest.param(NEVER_HEARD, True, "keep stalled_but_busy", id="its reports do not come"),
        pytest.param(NEVER_HEARD, False, "close stalled", id="it is dead or its job is over"),
        pytest.param(LATE, True, "keep stalled_but_busy", id="its events name it"),
        pytest.param(LATE, False, "relaunch boot_deadline", id="it never reported"),
        pytest.param(goodbye(30, JOB), True, "keep still_busy", id="it left, and its job runs"),
        pytest.param(goodbye(30, JOB), False, "close finished", id="its job is over indeed"),
        pytest.param(goodbye(30, FOR_JOB), True, "keep still_busy", id="it has one, it says not"),
        pytest.param(
            goodbye(30, FOR_JOB), False, "relaunch went_unserved", id="it got none indeed"
        ),
    ],
)
def test_after_gitlab_was_asked(lost: Runner, job_running: bool, expected: str) -> None:
    suspect = Suspect(runner=lost, machine_alive=True, job_running=job_running)
    plan = decide_reap(suspect, LIMITS, at=AT)
    assert f"{plan.fate} {plan.reason}" == expected


@pytest.mark.parametrize(
    ("lost", "expected"),
    [
        pytest.param(lost(DONE, 0, JOB), "close finished", id="its job is done"),
        pytest.param(lost(DONE, 5, FOR_JOB), "keep went_unserved", id="its job may be taken"),
        pytest.param(lost(BUSY, 60, JOB, HEARD), "keep healthy", id="at work"),
    ],
)
def test_a_machine_without_an_end_from_outside_has_ended_with_its_goodbye(
    lost: Runner, expected: str
) -> None:
    suspect = Suspect(runner=lost, machine_alive=None, ends_alone=True)
    plan = decide_reap(suspect, LIMITS, at=AT)
    assert f"{plan.fate} {plan.reason}" == expected


def suspects() -> Iterator[Suspect]:
    return (
        Suspect(
            runner=runner(
                "r",
                state,
                since_s=since_s,
                heartbeat_at=heartbeat_at,
                expires_at=ago(expired_s),
                job=job,
                for_job=for_job,
                machine_id=machine_id,
                gitlab_runner_id=gitlab_runner_id,
                is_called_off=is_called_off,
            ),
            machine_alive=alive,
            job_running=job_running,
        )
        for state in RunnerState
        for since_s in (29, 30, 299, 300)
        for heartbeat_at in (None, ago(299), ago(300))
        for expired_s in (0, -1)
        for job, for_job in ((None, None), (None, key(7)), (key(7), key(7)))
        for machine_id in (None, "i-1")
        for gitlab_runner_id in (None, 31)
        for alive in (None, True, False)
        for job_running in (None, True, False)
        for is_called_off in (False, True)
    )


@cache
def plans() -> tuple[tuple[Suspect, Runner, ReapPlan], ...]:
    """Every suspect there is, its runner and what becomes of it."""
    return tuple(
        (suspect, suspect.runner, decide_reap(suspect, LIMITS, at=AT)) for suspect in suspects()
    )


def test_nothing_busy_is_ended_on_one_observation() -> None:
    for suspect, lost, plan in plans():
        ended = plan.fate in {Fate.CLOSE, Fate.RELAUNCH}
        if ended and lost.state is BUSY and suspect.machine_alive is not False:
            heard_at = lost.heartbeat_at or lost.changed_at or lost.launched_at
            silent = heard_at <= ago(300)
            assert lost.expires_at <= AT or (silent and suspect.job_running is False), suspect


def test_nothing_that_gitlab_sees_at_work_is_ended_while_its_cloud_shows_it() -> None:
    """Whatever it says itself, before its expiry."""
    for suspect, lost, plan in plans():
        known = lost.gitlab_runner_id is not None or lost.job is not None
        if known and suspect.job_running and lost.expires_at > AT:
            gone = suspect.machine_alive is False and lost.machine_id is not None
            assert gone or plan.fate is Fate.KEEP, suspect


def test_asks_only_what_it_does_not_know() -> None:
    for suspect, _, plan in plans():
        assert plan.fate is not Fate.ASK or suspect.job_running is None, suspect


def test_nothing_expired_is_kept_whatever_it_says() -> None:
    for suspect, lost, plan in plans():
        if lost.expires_at <= AT:
            assert plan.fate in {Fate.CLOSE, Fate.RELAUNCH}, suspect


def test_only_a_machine_launched_for_a_job_is_launched_again() -> None:
    for suspect, lost, plan in plans():
        assert plan.fate is not Fate.RELAUNCH or lost.covers or lost.owes_a_job, suspect


def test_whatever_ends_it_before_its_job_costs_an_attempt() -> None:
    """Else it goes on for ever; unless the fleet or AWS called it off, or no cloud answered."""
    for suspect, lost, plan in plans():
        ended = plan.fate in {Fate.CLOSE, Fate.RELAUNCH}
        if ended and lost.for_job is not None and lost.job is None and lost.state is not REQUESTED:
            costs_nothing = lost.is_called_off or lost.state is DRAINING
            assert (plan.fate is Fate.CLOSE) is costs_nothing, suspect


def test_an_unserved_runner_is_never_only_closed_once_its_grace_is_over() -> None:
    for suspect, lost, plan in plans():
        if lost.went_unserved:
            assert plan.fate in {Fate.RELAUNCH, Fate.KEEP, Fate.ASK}, suspect
            is_kept = plan.fate is Fate.KEEP and suspect.job_running
            busy = {Reason.STILL_BUSY} if is_kept else set()
            assert plan.reason in {Reason.WENT_UNSERVED, *busy}


@pytest.mark.parametrize(
    ("stray", "removed"),
    [
        pytest.param(Stray(id="x", seen_since=ago(120), busy=False), True, id="unknown"),
        pytest.param(Stray(id="x", seen_since=ago(119), busy=False), False, id="its row may come"),
        pytest.param(Stray(id="x", seen_since=ago(999), busy=True), False, id="a job runs there"),
        pytest.param(Stray(id="known", seen_since=ago(999), busy=False), False, id="has a row"),
    ],
)
def test_strays(stray: Stray, removed: bool) -> None:
    assert decide_strays([stray], {"known": object()}, AT) == ([stray.id] if removed else [])


def test_strays_keep_their_order() -> None:
    strays = [Stray(id=name, seen_since=ago(999), busy=False) for name in "bac"]
    assert decide_strays(strays, {}, AT) == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("ended", "ends_alone", "expected"),
    [
        (WORKS, False, (Fate.CLOSE, Reason.ORDERED)),
        (lost(IDLE, 60, FOR_JOB, HEARD), False, (Fate.RELAUNCH, Reason.ORDERED)),
        (WORKS, True, (Fate.KEEP, Reason.HEALTHY)),
    ],
)
def test_a_persons_order_goes_first_where_a_call_can_end_the_machine(
    ended: Runner, ends_alone: bool, expected: tuple[Fate, Reason]
) -> None:
    suspect = Suspect(runner=ended, machine_alive=True, ends_alone=ends_alone, is_ordered=True)
    plan = decide_reap(suspect, LIMITS, at=AT)
    assert (plan.fate, plan.reason) == expected
