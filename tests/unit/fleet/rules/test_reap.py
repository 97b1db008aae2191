"""What becomes of a runner that may be lost: the rule as a table of sentences."""

from collections.abc import Iterator
from functools import cache

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
SILENT: Facts = {"heartbeat_at": ago(300)}
HEARD: Facts = {"heartbeat_at": ago(299)}
WORKS = runner("r", BUSY, **ON_MACHINE, **JOB, **HEARD)
SILENT_AT_WORK = runner("r", BUSY, **ON_MACHINE, **JOB, **SILENT)
NEVER_HEARD = runner("r", BUSY, since_s=300, **ON_MACHINE, **JOB)
LATE = runner("r", IN_FLIGHT, since_s=300, **ON_MACHINE)
LEFT = runner("r", DONE, since_s=30, **ON_MACHINE, **JOB)
UNSERVED = runner("r", DONE, since_s=30, for_job=key(7), **ON_MACHINE)
EXPIRED: Facts = {"expires_at": AT}


@pytest.mark.parametrize(
    ("lost", "alive", "fate", "reason"),
    [
        pytest.param(WORKS, True, "keep", "healthy", id="at work and heard of"),
        pytest.param(WORKS, None, "keep", "healthy", id="at work, the cloud was not asked"),
        pytest.param(runner("r", **ON_MACHINE, **HEARD), True, "keep", "healthy", id="idle"),
        pytest.param(WORKS, False, "close", "machine_gone", id="its machine ended under a job"),
        pytest.param(
            runner("r", **ON_MACHINE), False, "relaunch", "machine_gone", id="it ended before a job"
        ),
        pytest.param(
            runner("r", DRAINING, **ON_MACHINE), False, "close", "machine_gone",
            id="it ended after its order",
        ),
        pytest.param(
            runner("r", REQUESTED), False, "keep", "healthy", id="no machine yet is not a lost one"
        ),
        pytest.param(
            runner("r", DONE, since_s=30, job=key(7), **ON_MACHINE), True, "ask", "finished",
            id="it says that its job is over: ask GitLab",
        ),
        pytest.param(
            runner("r", DONE, since_s=30, for_job=key(7), **ON_MACHINE), True,
            "ask", "went_unserved", id="GitLab gave it nothing, as it says",
        ),
        pytest.param(
            runner("r", DONE, since_s=29, for_job=key(7), **ON_MACHINE), True,
            "keep", "went_unserved", id="GitLab gave it nothing, a moment ago",
        ),
        pytest.param(
            runner("r", DONE, since_s=1, for_job=key(7), **ON_MACHINE), False,
            "relaunch", "went_unserved", id="GitLab gave it nothing, and it powered off at once",
        ),
        pytest.param(
            runner("r", DONE, since_s=1, job=key(7), for_job=key(7), **ON_MACHINE), False,
            "close", "machine_gone", id="it powered off after its job",
        ),
        pytest.param(
            runner("r", DONE, since_s=30, for_job=key(7), left_bare=True, **ON_MACHINE), True,
            "ask", "went_unserved", id="it got no credential, as GitLab was out",
        ),
        pytest.param(
            runner("r", DONE, since_s=30, for_job=key(7), left_bare=True, equipped=True), True,
            "ask", "went_unserved", id="it got one later, and no job all the same",
        ),
        pytest.param(
            runner("r", DONE, since_s=-86400, expires_at=AT, for_job=key(7)), True,
            "relaunch", "went_unserved", id="its goodbye is dated tomorrow: expiry ends the wait",
        ),
        pytest.param(
            runner("r", DRAINING, since_s=9999, for_job=key(7), **ON_MACHINE), True,
            "ask", "boot_deadline", id="drained before it ever called home",
        ),
        pytest.param(
            runner("r", DONE, since_s=30, **ON_MACHINE), True, "ask", "went_unserved",
            id="said goodbye, and was there for no job in particular",
        ),
        pytest.param(
            runner("r", DONE, since_s=29, **ON_MACHINE), True, "keep", "went_unserved",
            id="said goodbye just now",
        ),
        pytest.param(
            runner("r", DONE, since_s=900, changed_at=None, heartbeat_at=ago(29)), True,
            "keep", "went_unserved", id="its goodbye was its last heartbeat",
        ),
        pytest.param(
            runner("r", DONE, since_s=30, heartbeat_at=ago(1)), True, "close", "went_unserved",
            id="its goodbye was heard a second time",
        ),
        pytest.param(
            runner("r", DONE, since_s=900, changed_at=None), True, "close", "went_unserved",
            id="its goodbye has no time",
        ),
        pytest.param(
            runner("r", BUSY, **ON_MACHINE, **JOB, **HEARD, **EXPIRED), True, "close", "expired",
            id="expired at work",
        ),
        pytest.param(
            runner("r", BUSY, **JOB, **HEARD, expires_at=ago(-1)), True, "keep", "healthy",
            id="one second to go",
        ),
        pytest.param(
            runner("r", IN_FLIGHT, since_s=299, **ON_MACHINE), True, "keep", "healthy", id="boots"
        ),
        pytest.param(LATE, True, "ask", "boot_deadline", id="did not come: ask GitLab first"),
        pytest.param(
            runner("r", IN_FLIGHT, since_s=300), True, "relaunch", "boot_deadline",
            id="did not come, and GitLab has no record of it",
        ),
        pytest.param(
            runner("r", REQUESTED, since_s=300), None, "close", "boot_deadline",
            id="the cloud never answered: no attempt is lost",
        ),
        pytest.param(
            runner("r", IN_FLIGHT, since_s=300, job=key(7)), True, "ask", "boot_deadline",
            id="a webhook says that it took a job",
        ),
        pytest.param(SILENT_AT_WORK, True, "ask", "stalled", id="silent at work: ask first"),
        pytest.param(
            runner("r", BUSY, **SILENT), True, "ask", "stalled", id="silent at an unknown job"
        ),
        pytest.param(
            runner("r", **SILENT), True, "close", "stalled", id="silent, no job, no record"
        ),
        pytest.param(
            runner("r", equipped=True, **SILENT), True, "ask", "stalled",
            id="silent, and the record that it asks with is the pool's: it may have a job",
        ),
        pytest.param(
            runner("r", for_job=key(7), **SILENT), True, "relaunch", "stalled",
            id="called home for its job, and was never heard of again",
        ),
        pytest.param(
            runner("r", for_job=key(7), is_called_off=True, **SILENT), True, "close", "stalled",
            id="silent, but AWS took it back: that is not the job's fault",
        ),
        pytest.param(
            runner("r", for_job=key(7), is_called_off=True, **ON_MACHINE), False,
            "close", "machine_gone", id="AWS took it back before its job",
        ),
        pytest.param(
            runner("r", DONE, since_s=30, for_job=key(7), is_called_off=True), True,
            "close", "went_unserved", id="said goodbye after its order",
        ),
        pytest.param(
            runner("r", for_job=key(7), **HEARD, **EXPIRED), True, "relaunch", "expired",
            id="expired before its job",
        ),
        pytest.param(
            runner("r", DRAINING, **ON_MACHINE, **SILENT), True, "ask", "stalled",
            id="silent while it drains",
        ),
        pytest.param(
            runner("r", BUSY, since_s=299, **ON_MACHINE, **JOB), True, "keep", "healthy",
            id="GitLab gave it a job, and it has not been heard of yet",
        ),
        pytest.param(
            runner("r", BUSY, since_s=300, **ON_MACHINE, **JOB), True, "ask", "stalled",
            id="GitLab gave it a job, and it was never heard of: its end may be unseen, too",
        ),
        pytest.param(
            runner("r", BUSY, since_s=300, changed_at=None, **ON_MACHINE, **JOB), None, "ask",
            "stalled", id="never heard of, and since when it works is not known",
        ),
    ],
)  # fmt: skip
def test_before_gitlab_is_asked(lost: Runner, alive: bool | None, fate: str, reason: str) -> None:
    verdict = decide_reap(Suspect(runner=lost, machine_alive=alive), LIMITS, at=AT)
    assert (verdict.fate, verdict.reason, verdict.runner) == (fate, reason, lost)


@pytest.mark.parametrize(
    ("lost", "job_running", "fate", "reason"),
    [
        pytest.param(SILENT_AT_WORK, True, "keep", "stalled_but_busy", id="it works"),
        pytest.param(SILENT_AT_WORK, False, "close", "stalled", id="it does not"),
        pytest.param(NEVER_HEARD, True, "keep", "stalled_but_busy", id="its reports do not come"),
        pytest.param(NEVER_HEARD, False, "close", "stalled", id="it is dead or its job is over"),
        pytest.param(
            LATE, True, "keep", "stalled_but_busy", id="its events name it, without a report"
        ),
        pytest.param(LATE, False, "relaunch", "boot_deadline", id="it never reported"),
        pytest.param(LEFT, True, "keep", "still_busy", id="it said goodbye, and its job runs"),
        pytest.param(LEFT, False, "close", "finished", id="its job is over indeed"),
        pytest.param(UNSERVED, True, "keep", "still_busy", id="it has a job, whatever it says"),
        pytest.param(UNSERVED, False, "relaunch", "went_unserved", id="it got none indeed"),
    ],
)
def test_after_gitlab_was_asked(lost: Runner, job_running: bool, fate: str, reason: str) -> None:
    suspect = Suspect(runner=lost, machine_alive=True, job_running=job_running)
    verdict = decide_reap(suspect, LIMITS, at=AT)
    assert (verdict.fate, verdict.reason) == (fate, reason)


@pytest.mark.parametrize(
    ("lost", "fate", "reason"),
    [
        pytest.param(
            runner("r", DONE, since_s=0, **JOB), "close", "finished", id="its job is done"
        ),
        pytest.param(
            runner("r", DONE, since_s=5, for_job=key(7)),
            "keep",
            "went_unserved",
            id="its job may be taken",
        ),
        pytest.param(runner("r", BUSY, **JOB, **HEARD), "keep", "healthy", id="at work"),
    ],
)
def test_a_machine_without_an_end_from_outside_has_ended_with_its_goodbye(
    lost: Runner, fate: str, reason: str
) -> None:
    suspect = Suspect(runner=lost, machine_alive=None, ends_alone=True)
    verdict = decide_reap(suspect, LIMITS, at=AT)
    assert (verdict.fate, verdict.reason) == (fate, reason)


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
def verdicts() -> tuple[tuple[Suspect, Runner, ReapPlan], ...]:
    """Every suspect there is, its runner and what becomes of it."""
    return tuple((one, one.runner, decide_reap(one, LIMITS, at=AT)) for one in suspects())


def test_nothing_busy_is_ended_on_one_observation() -> None:
    for suspect, lost, verdict in verdicts():
        ended = verdict.fate in {Fate.CLOSE, Fate.RELAUNCH}
        if ended and lost.state is BUSY and suspect.machine_alive is not False:
            heard_at = lost.heartbeat_at or lost.changed_at or lost.launched_at
            silent = heard_at <= ago(300)
            assert lost.expires_at <= AT or (silent and suspect.job_running is False), suspect


def test_nothing_that_gitlab_sees_at_work_is_ended_while_its_cloud_shows_it() -> None:
    """Whatever it says itself, before its expiry."""
    for suspect, lost, verdict in verdicts():
        known = lost.gitlab_runner_id is not None or lost.job is not None
        if known and suspect.job_running and lost.expires_at > AT:
            gone = suspect.machine_alive is False and lost.machine_id is not None
            assert gone or verdict.fate is Fate.KEEP, suspect


def test_asks_only_what_it_does_not_know() -> None:
    for suspect, _, verdict in verdicts():
        assert verdict.fate is not Fate.ASK or suspect.job_running is None, suspect


def test_nothing_expired_is_kept_whatever_it_says() -> None:
    for suspect, lost, verdict in verdicts():
        if lost.expires_at <= AT:
            assert verdict.fate in {Fate.CLOSE, Fate.RELAUNCH}, suspect


def test_only_a_machine_launched_for_a_job_is_launched_again() -> None:
    for suspect, lost, verdict in verdicts():
        assert verdict.fate is not Fate.RELAUNCH or lost.covers or lost.owes_a_job, suspect


def test_whatever_ends_it_before_its_job_costs_an_attempt() -> None:
    """Else it goes on for ever; unless the fleet or AWS called it off, or no cloud answered."""
    for suspect, lost, verdict in verdicts():
        ended = verdict.fate in {Fate.CLOSE, Fate.RELAUNCH}
        if ended and lost.for_job is not None and lost.job is None and lost.state is not REQUESTED:
            kept = lost.is_called_off or lost.state is DRAINING
            assert (verdict.fate is Fate.CLOSE) is kept, suspect


def test_what_went_in_vain_is_never_just_closed_once_its_grace_is_over() -> None:
    for suspect, lost, verdict in verdicts():
        if lost.went_unserved:
            assert verdict.fate in {Fate.RELAUNCH, Fate.KEEP, Fate.ASK}, suspect
            kept = verdict.fate is Fate.KEEP and suspect.job_running
            busy = {Reason.STILL_BUSY} if kept else set()
            assert verdict.reason in {Reason.WENT_UNSERVED, *busy}


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
