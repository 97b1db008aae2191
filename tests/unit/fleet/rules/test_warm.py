"""Warm launches that come to nothing: which they are, how long to wait, when to stop."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fleet.machine.mailbox import MachineState, Report
from fleet.model import Runner, RunnerState
from fleet.reasons import Reason
from fleet.rules.scale import decide_scale
from fleet.rules.warm import (
    WarmMemory,
    after_failure,
    is_forgotten,
    is_news,
    is_proof,
    why_failed,
    why_no_warm,
)
from fleet.steps import Outcome, Step, StepName
from tests.unit.fleet.facts import (
    AT,
    LIMITS,
    Facts,
    ago,
    booting,
    idle,
    jobs,
    key,
    runner,
    snapshot,
)

WARM = runner("warm", RunnerState.IN_FLIGHT, since_s=300, machine_id="i-1", equipped=True)
PROBING: Facts = {"warm_at_most": 1}
DONE = replace(WARM, state=RunnerState.DONE)
CALLED, READ = StepName.CALLED_HOME, StepName.CREDENTIAL_READ


def report(*steps: StepName, state: MachineState = MachineState.DONE, **facts: object) -> Report:
    dated = tuple(Step(at=AT, name=name) for name in steps)
    return Report(heartbeat_at=AT, state=state, steps=dated, **facts)  # type: ignore[arg-type]


BAD_AGENT = report(CALLED, READ, outcome=Outcome.SYSTEM_FAILURE, detail="no Docker engine")
REFUSED = report(CALLED, READ, outcome=Outcome.FORBIDDEN)
PATIENT = report(CALLED, READ, outcome=Outcome.NO_JOB)
NO_CREDENTIAL = report(CALLED, outcome=Outcome.NO_JOB)
SILENT = report(CALLED, READ, state=MachineState.IDLE)


ENDS: dict[str, Any] = {
    "never called home": (WARM, None, "boot_deadline", "never called home"),
    "powered off at once": (WARM, None, "machine_gone", "never called home"),
    "an invocation": (WARM, None, "invocation_failed", "never called home"),
    "agent says why": (DONE, BAD_AGENT, "went_unserved", "no Docker engine"),
    "and is gone by now": (DONE, BAD_AGENT, "machine_gone", "no Docker engine"),
    "token refused": (DONE, REFUSED, "went_unserved", "could not serve"),
    "mail not read": (DONE, NO_CREDENTIAL, "went_unserved", "did not start"),
    "died young": (replace(WARM, state=RunnerState.IDLE), SILENT, "machine_gone", "without a word"),
    "waited for a job that never came": (DONE, PATIENT, "went_unserved", None),
    "died old": (
        replace(WARM, state=RunnerState.IDLE, launched_at=ago(3600)), SILENT, "machine_gone", None
    ),
    "got no credential": (replace(DONE, equipped=False), NO_CREDENTIAL, "went_unserved", None),
    "drained": (replace(WARM, is_called_off=True), None, "machine_gone", None),
    "for a job": (replace(WARM, for_job=key(1)), None, "boot_deadline", None),
    "had a job": (replace(WARM, job=key(1)), None, "machine_gone", None),
    "claims a job": (replace(WARM, claim=key(1)), SILENT, "machine_gone", None),
    "never had a machine": (replace(WARM, machine_id=None), None, "boot_deadline", None),
    "the cloud had none": (WARM, None, "launch_failed", None),
    "expired": (WARM, None, "expired", None),
}  # fmt: skip


@pytest.mark.parametrize(("ended", "last", "reason", "why"), ENDS.values(), ids=ENDS)
def test_a_warm_machine_that_never_could_serve_counts(
    ended: Runner, last: Report | None, reason: str, why: str | None
) -> None:
    failure = why_failed(ended, last, Reason(reason), at=AT)
    assert (failure is None) is (why is None)
    assert why is None or why in (failure or "")


@pytest.mark.parametrize(
    ("failures", "wait_s"), [(1, 60), (2, 120), (3, 240), (6, 1800), (60, 1800)]
)
def test_each_failure_doubles_the_wait(failures: int, wait_s: int) -> None:
    memory = WarmMemory(failures=failures, failed_at=AT)
    just_before, then = (AT + timedelta(seconds=wait_s + more) for more in (-1, 0))
    assert why_no_warm(memory, attempts=99, at=just_before) is Reason.WARM_FAILED
    assert why_no_warm(memory, attempts=99, at=then) is None


def test_after_the_pools_attempts_time_changes_nothing() -> None:
    memory = WarmMemory(failures=3, failed_at=AT)
    assert why_no_warm(memory, attempts=3, at=AT + timedelta(days=30)) is Reason.WARM_STOPPED
    assert why_no_warm(memory, attempts=4, at=AT + timedelta(days=30)) is None
    assert why_no_warm(WarmMemory(), attempts=1, at=AT) is None


FAILURES: dict[str, Any] = {
    "the first": (WarmMemory(), (), 1),
    "the next": (WarmMemory(failures=1, failed_at=ago(600)), (), 2),
    "hours later": (WarmMemory(failures=2, failed_at=ago(9000)), (), 1),
    "a newer one serves": (
        WarmMemory(failures=2, failed_at=ago(600)), idle(1, since_s=60, asks=True), 1
    ),
    "an older one serves": (
        WarmMemory(failures=2, failed_at=ago(600)), idle(1, since_s=900, asks=True), 3
    ),
    "a newer one boots": (WarmMemory(failures=2, failed_at=ago(600)), booting(1), 3),
}  # fmt: skip


@pytest.mark.parametrize(("memory", "live", "failures"), FAILURES.values(), ids=FAILURES)
def test_failures_count_in_a_row(
    memory: WarmMemory, live: tuple[Runner, ...], failures: int
) -> None:
    assert after_failure(memory, live, why="gone", at=AT) == WarmMemory(
        failures=failures, failed_at=AT, why="gone"
    )


def test_the_machines_of_one_launch_fail_once() -> None:
    memory = WarmMemory(failures=1, failed_at=ago(10))
    assert not is_news(memory, WARM)
    assert is_news(memory, replace(WARM, launched_at=ago(5)))
    assert is_news(WarmMemory(), WARM)


@pytest.mark.parametrize(
    ("ended", "last", "proves"),
    [
        pytest.param(replace(DONE, job=key(1)), None, True, id="ran a job"),
        pytest.param(DONE, PATIENT, True, id="asked for jobs"),
        pytest.param(DONE, BAD_AGENT, False, id="could not serve"),
        pytest.param(DONE, NO_CREDENTIAL, False, id="never asked"),
        pytest.param(WARM, None, False, id="never called home"),
    ],
)
def test_a_runner_that_served_proves_its_image(
    ended: Runner, last: Report | None, proves: bool
) -> None:
    assert is_proof(ended, last) is proves


HELD: dict[str, Any] = {
    "no failure": ({}, 0, 3, "idle_target"),
    "one as a probe": (PROBING, 0, 1, "idle_target"),
    "one at a time": (PROBING | {"runners": booting(1)}, 0, 0, "warm_failed"),
    "the next probe": (PROBING | {"runners": idle(1, asks=True)}, 0, 1, "idle_target"),
    "backs off": (PROBING | {"why_no_warm": Reason.WARM_FAILED}, 0, 0, "warm_failed"),
    "stopped": (PROBING | {"why_no_warm": Reason.WARM_STOPPED}, 0, 0, "warm_stopped"),
    "jobs are launched for": (
        {"why_no_warm": Reason.WARM_STOPPED, "backlog": jobs(2)}, 2, 0, "backlog"
    ),
    "enough are warm": ({"why_no_warm": Reason.WARM_STOPPED, "runners": idle(3)}, 0, 0, "balanced"),
}  # fmt: skip


@pytest.mark.parametrize(("facts", "launch", "warm", "reason"), HELD.values(), ids=HELD)
def test_only_warm_launches_are_held(facts: Facts, launch: int, warm: int, reason: str) -> None:
    plan = decide_scale(replace(snapshot(), **facts), replace(LIMITS, idle_target=3))
    assert (len(plan.launch), plan.warm, plan.reason) == (launch, warm, reason)


@pytest.mark.parametrize(
    ("failures", "failed_s_ago", "forgotten"),
    [
        pytest.param(2, 301, True, id="it was launched after them"),
        pytest.param(2, 299, False, id="it was launched before the last"),
        pytest.param(3, 301, False, id="a stop stays until the next apply"),
        pytest.param(0, 301, False, id="there is none"),
    ],
)
def test_a_runner_that_served_ends_the_failures_before_it(
    failures: int, failed_s_ago: float, forgotten: bool
) -> None:
    memory = WarmMemory(failures=failures, failed_at=ago(failed_s_ago))
    served = replace(DONE, launched_at=ago(300))
    assert is_forgotten(memory, served, attempts=3) is forgotten
