"""One job from credential to goodbye, with a runner that does what the test wrote down."""

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.guest.cache_keys import CacheKeys
from adapters.guest.one_job import NOTICES, Workplace, run_one_job
from adapters.guest.reporter import Reporter
from adapters.guest.runner_process import BINARY_VARIABLE
from fleet.machine.mailbox import CacheBucket, MachineState, Order
from fleet.machine.runner_log import Follower
from fleet.machine.stop import Why
from tests.integration import runs
from tests.integration.runs import FAKE, Letters, credential, eventually, is_alive

LONG = ("wait", 60)
JOB = [runs.STARTED, runs.RECEIVED, runs.STORED, runs.SUCCEEDED, ("exit", 0)]
ABORTING = ("on", {"SIGTERM": [runs.TERMINATED, runs.ABORTED, ("exit", 0)]})


def workplace(folder: Path, **changes: Any) -> Workplace:
    standard = Workplace(
        home=folder / "work",
        ends_at=datetime.now(UTC) + timedelta(hours=1),
        environment={"PATH": runs.PATH, BINARY_VARIABLE: str(runs.FAKE)},
    )
    return replace(standard, **changes)


def run(script: list[Any], folder: Path, letters: Letters, **changes: Any) -> Follower:
    """One run with a heartbeat of a twentieth of a second."""
    with Reporter(letters, heartbeat_s=0.05) as reporter:
        return run_one_job(credential(script, folder), workplace(folder, **changes), reporter)


class Leap:
    """A clock that jumps ahead when told to."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def test_a_job_is_reported_step_by_step(tmp_path: Path) -> None:
    letters = Letters()
    seen = run(JOB, tmp_path, letters)
    assert (seen.outcome, seen.job_id) == ("succeeded", 101)
    assert letters.steps == ["job_taken", "first_output", "job_finished", "runner_exited"]
    assert letters.states[-1] == "done"
    last = letters.reports[-1]
    assert (last.runner_id, last.job_id, last.outcome) == ("rf-test-1", 101, "succeeded")


def test_it_is_idle_then_busy_then_done(tmp_path: Path) -> None:
    letters = Letters()
    slowly = [step for one in JOB for step in (one, ("wait", 0.3))]
    run(slowly, tmp_path, letters)
    assert letters.states[-3:] == ["idle", "busy", "done"]


def test_no_job_came(tmp_path: Path) -> None:
    gone = ("say", {"msg": "This runner has not received a job in 60 seconds, so now exiting"})
    letters = Letters()
    seen = run([runs.STARTED, gone, ("exit", 0)], tmp_path, letters)
    assert (seen.outcome, seen.state) == ("no_job", MachineState.DONE)
    assert letters.steps == ["runner_exited"]


def test_a_revoked_token_ends_it_at_once(tmp_path: Path) -> None:
    letters = Letters()
    began = time.monotonic()
    script = [("on", {"SIGTERM": [("exit", 0)]}), runs.STARTED, runs.FORBIDDEN, LONG]
    seen = run(script, tmp_path, letters)
    assert seen.outcome == "forbidden"
    assert letters.steps == ["stopped", "runner_exited"]
    assert time.monotonic() - began < 30


def test_an_order_drains_it(tmp_path: Path) -> None:
    letters = Letters(waiting=Order(reason="surplus", at=datetime.now(UTC)))
    seen = run([runs.OBEDIENT, runs.STARTED, LONG], tmp_path, letters)
    assert seen.outcome == "no_job"
    assert letters.steps == ["drained", "runner_exited"]
    assert not (tmp_path / "work/notice").exists(), "there is no job to tell"


def test_an_order_waits_for_a_runner_that_does_not_listen_yet(tmp_path: Path) -> None:
    """Between its first line and its handler a signal is its death."""
    letters = Letters(waiting=Order(reason="surplus", at=datetime.now(UTC)))
    script = [runs.STARTED, ("wait", 1.5), runs.OBEDIENT, LONG]
    with_log: list[str] = []
    seen = run(script, tmp_path, letters, echo=with_log.append)
    assert (seen.outcome, seen.quitting) == ("no_job", True)
    assert letters.steps == ["drained", "runner_exited"]


def test_an_order_that_was_not_heard_is_given_again(tmp_path: Path) -> None:
    letters = Letters(waiting=Order(reason="surplus", at=datetime.now(UTC)))
    script = [("on", {"SIGQUIT": [runs.OBEDIENT]}), runs.STARTED, LONG]
    assert run(script, tmp_path, letters).quitting
    assert letters.steps == ["drained", "runner_exited"]


@pytest.mark.parametrize("word", ["canceling", "canceled"])
def test_a_canceled_job_that_ignores_it_is_killed_in_time(tmp_path: Path, word: str) -> None:
    """The clock leaps once GitLab's answer came: what takes 15 s takes none here."""
    letters, clock, told = Letters(), Leap(), tmp_path / "pid"
    job = ("start", f"trap '' TERM; echo $$ > {told}; sleep 300 & setsid sleep 300 & sleep 300")
    answer = {"msg": "Submitting job to coordinator...ok", "job": 101, "job-status": word}
    after = tmp_path / "after"
    last = ("start", f"echo $$ > {after}; sleep 300")
    done = {"msg": "Job failed: canceled\n", "job": 101}
    script = [runs.STARTED, runs.RECEIVED, job, ("wait", 1), ("say", answer), ("wait", 1), last]

    def leap(line: str) -> None:
        if "Appending" in line:
            eventually(lambda: after.exists() and after.read_text() != "")
            clock.ahead = timedelta(seconds=16)

    ending = [("wait", 1), runs.STORED, ("wait", 2), ("say", done), ("wait", 1), ("exit", 0)]
    seen = run([*script, *ending], tmp_path, letters, clock=clock, echo=leap)
    assert (seen.outcome, seen.canceled) == ("canceled", True)
    stops = [s.detail for r in letters.reports for s in r.steps if s.name == "stopped"]
    assert stops == ["kill_job: ignored_cancel"]
    assert not is_alive(int(told.read_text()))


def test_a_second_job_is_the_last(tmp_path: Path) -> None:
    letters = Letters()
    again = ("say", {"msg": "Checking for jobs... received", "job": 102})
    done = ("say", {"msg": "Job succeeded", "job": 102})
    script = [
        ("on", {"SIGQUIT": [runs.QUITTING, done, ("exit", 0)]}),
        *[runs.STARTED, runs.RECEIVED, again, LONG],
    ]
    seen = run(script, tmp_path, letters)
    assert (seen.outcome, seen.job_id) == ("succeeded", 102)
    assert letters.steps == ["job_taken", "job_taken", "stopped", "job_finished", "runner_exited"]


def test_the_end_of_the_machine_ends_the_job_and_says_why(tmp_path: Path) -> None:
    letters = Letters()
    soon = datetime.now(UTC) + timedelta(seconds=46)
    seen = run([ABORTING, runs.STARTED, runs.RECEIVED, LONG], tmp_path, letters, ends_at=soon)
    assert (seen.outcome, seen.detail) == ("interrupted", "aborted: terminated")
    assert "stopped" in letters.steps
    notice = (tmp_path / "work/notice").read_text()
    assert NOTICES[Why.END_OF_MACHINE] in notice


def test_a_spot_notice_drains_first_and_interrupts_in_time(tmp_path: Path) -> None:
    letters = Letters()
    soon = datetime.now(UTC) + timedelta(seconds=47)
    seen = run(
        [("on", {"SIGQUIT": [runs.QUITTING]}), ABORTING, runs.STARTED, runs.RECEIVED, LONG],
        tmp_path,
        letters,
        spot_at=lambda: soon,
    )
    assert seen.outcome == "interrupted"
    told = [s.detail for r in letters.reports for s in r.steps if s.name == "stopped"]
    assert told == ["drain: spot_notice", "interrupt: spot_notice"]
    assert NOTICES[Why.SPOT_NOTICE] in (tmp_path / "work/notice").read_text()


def test_a_deaf_job_is_killed_and_then_the_runner(tmp_path: Path) -> None:
    """The clock leaps once the job runs: what takes 35 s takes none here."""
    letters, clock, told = Letters(), Leap(), tmp_path / "pid"
    deaf = ("on", {"SIGTERM": [runs.TERMINATED], "SIGQUIT": []})
    job = ("start", f"trap '' TERM; echo $$ > {told}; sleep 300; sleep 300")
    script = [deaf, runs.STARTED, runs.RECEIVED, job, LONG]

    def leap(line: str) -> None:
        if "received" in line:
            eventually(lambda: told.exists() and told.read_text() != "")
            clock.ahead = timedelta(hours=1)
        if "Requested exit" in line:
            clock.ahead += timedelta(seconds=20)

    class Impatient(Leap):
        """Once the job is dead the runner has no more time either."""

        def __call__(self) -> datetime:
            if "stopped" in letters.steps and clock.ahead:
                dead = told.exists() and not is_alive(int(told.read_text()))
                return clock() + timedelta(seconds=60 if dead else 0)
            return clock()

    seen = run(script, tmp_path, letters, clock=Impatient(), echo=leap)
    assert seen.outcome == "interrupted"
    stops = [s.detail for r in letters.reports for s in r.steps if s.name == "stopped"]
    assert stops == [
        "interrupt: end_of_machine",
        "kill_job: ignored_interrupt",
        "kill: ignored_interrupt",
    ]
    assert not is_alive(int(told.read_text()))


@pytest.mark.parametrize(
    ("script", "detail"),
    [
        ([("say", {"msg": "Missing Token", "level": "fatal"}), ("exit", 1)], "Missing Token"),
        ([("exit", 2)], "gitlab-runner ended with code 2"),
        ([], "it ended with code 0 before it asked GitLab for a job: is it gitlab-runner?"),
    ],
)
def test_a_runner_that_fails_is_the_machines_failure(
    script: list[Any], detail: str, tmp_path: Path
) -> None:
    seen = run(script, tmp_path, Letters())
    assert (seen.outcome, seen.detail) == ("system_failure", f"{FAKE}: {detail}")


def test_a_missing_binary_is_an_outcome(tmp_path: Path) -> None:
    letters = Letters()
    environment = {"PATH": runs.PATH, BINARY_VARIABLE: "/no/such/runner"}
    seen = run(JOB, tmp_path, letters, environment=environment)
    assert seen.outcome == "system_failure"
    assert "/no/such/runner cannot be started" in str(seen.detail)
    assert letters.steps == ["runner_exited"]
    assert letters.states[-1] == "done"


def test_the_runner_gets_the_keys_of_the_cache_and_no_job_sees_them(tmp_path: Path) -> None:
    told = tmp_path / "noted.json"
    cache = CacheBucket(bucket="fleet-cache", region="eu-west-1")
    keys = CacheKeys(access_key="ASIA1", secret_key="s3cret", session_token="t0ken")
    given = replace(credential([("note", str(told)), *JOB], tmp_path), cache=cache)
    place = workplace(tmp_path, cache_keys=lambda: keys)
    with Reporter(Letters(), heartbeat_s=0.05) as reporter:
        run_one_job(given, place, reporter)
    noted = json.loads(told.read_text())
    (runner,) = noted["config"]["runners"]
    s3 = runner["cache"]["s3"]
    assert (s3["AccessKey"], s3["SecretKey"], s3["BucketName"]) == (
        "ASIA1",
        "s3cret",
        "fleet-cache",
    )
    assert "s3cret" not in json.dumps([noted["environment"], noted["arguments"]])
    work = tmp_path / "work"
    assert (runner["builds_dir"], runner["cache_dir"]) == (
        str(work / "builds"),
        str(work / "cache"),
    )
    assert noted["folder"] == str(work)


def test_each_step_says_of_which_job_and_when(tmp_path: Path) -> None:
    letters = Letters()
    began = datetime.now(UTC)
    run(JOB, tmp_path, letters)
    steps = [step for report in letters.reports for step in report.steps]
    assert [step.job_id for step in steps] == [101, 101, 101, 101]
    assert all(began <= step.at <= datetime.now(UTC) for step in steps)
    assert (steps[-1].outcome, steps[-1].detail) == ("succeeded", None)
