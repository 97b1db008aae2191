"""One job from credential to goodbye, with a runner that follows the test's script."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.guest.one_job import NOTICES, Workplace, run_one_job
from adapters.guest.reporter import Reporter
from adapters.guest.runner_process import BINARY_VARIABLE
from adapters.guest.usage import Meter
from fleet.machine.mailbox import CacheBucket, Order
from fleet.machine.runner_log import RunnerLog
from fleet.machine.stop import Why
from tests.integration import runs
from tests.integration.runs import (
    ABORTING,
    FAKE,
    JOB,
    LONG,
    Letters,
    credential,
    eventually,
    is_alive,
)


def workplace(folder: Path, **changes: Any) -> Workplace:
    standard = Workplace(
        home=folder / "work",
        ends_at=datetime.now(UTC) + timedelta(hours=1),
        environment={"PATH": runs.PATH, BINARY_VARIABLE: str(runs.FAKE)},
    )
    return replace(standard, **changes)


def run(script: list[Any], folder: Path, letters: Letters, **changes: Any) -> RunnerLog:
    """One run with a heartbeat of a twentieth of a second."""
    with Reporter(letters, heartbeat_s=0.05) as reporter:
        return run_one_job(credential(script, folder), workplace(folder, **changes), reporter)


def stops(letters: Letters) -> list[str | None]:
    """Each stop of the runner: its force and why."""
    return [s.detail for r in letters.reports for s in r.steps if s.name == "stopped"]


class Leap:
    """A clock that a test moves ahead."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def test_a_job_is_reported_step_by_step(tmp_path: Path) -> None:
    letters, began = Letters(), datetime.now(UTC)
    slowly = [step for line in JOB for step in (line, ("wait", 0.3))]
    end = run(slowly, tmp_path, letters)
    assert (end.outcome, end.job_id) == ("succeeded", 101)
    assert letters.steps == ["job_taken", "first_output", "job_finished", "runner_exited"]
    assert letters.states[-3:] == ["idle", "busy", "done"]
    last = letters.reports[-1]
    assert (last.runner_id, last.job_id, last.outcome) == ("rf-test-1", 101, "succeeded")
    steps = letters.history
    assert [step.job_id for step in steps] == [101] * 4
    assert all(began <= step.at <= datetime.now(UTC) for step in steps)
    assert (steps[-1].outcome, steps[-1].detail) == ("succeeded", None)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([runs.OBEDIENT, runs.STARTED, LONG], id="a runner that listens"),
        # between its first line and its handler a signal is its death
        pytest.param([runs.STARTED, ("wait", 1.5), runs.OBEDIENT, LONG], id="one that will listen"),
        pytest.param(
            [("on", {"SIGQUIT": [runs.OBEDIENT]}), runs.STARTED, LONG],
            id="one that ignores the first",
        ),
    ],
)
def test_an_order_drains_the_runner(script: list[Any], tmp_path: Path) -> None:
    letters = Letters(waiting=Order(reason="surplus", at=datetime.now(UTC)))
    end = run(script, tmp_path, letters)
    assert (end.outcome, end.quitting) == ("no_job", True)
    assert letters.steps == ["drained", "runner_exited"]
    assert not (tmp_path / "work/notice").exists()  # no job to stop


@pytest.mark.parametrize("word", ["canceling", "canceled"])
def test_a_canceled_job_that_ignores_it_is_killed_in_time(tmp_path: Path, word: str) -> None:
    """The clock leaps once GitLab answers: what takes 15 s takes none here."""
    letters, clock, pid = Letters(), Leap(), tmp_path / "pid"
    job = ("start", f"trap '' TERM; echo $$ > {pid}; sleep 300 & setsid sleep 300 & sleep 300")
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
    end = run([*script, *ending], tmp_path, letters, clock=clock, echo=leap)
    assert (end.outcome, end.canceled) == ("canceled", True)
    assert stops(letters) == ["kill_job: ignored_cancel"]
    assert not is_alive(int(pid.read_text()))


def test_the_runner_takes_no_third_job(tmp_path: Path) -> None:
    letters = Letters()
    again = ("say", {"msg": "Checking for jobs... received", "job": 102})
    done = ("say", {"msg": "Job succeeded", "job": 102})
    script = [
        ("on", {"SIGQUIT": [runs.QUITTING, done, ("exit", 0)]}),
        *[runs.STARTED, runs.RECEIVED, again, LONG],
    ]
    end = run(script, tmp_path, letters)
    assert (end.outcome, end.job_id) == ("succeeded", 102)
    assert letters.steps == ["job_taken", "job_taken", "stopped", "job_finished", "runner_exited"]


def test_a_spot_notice_drains_first_and_interrupts_in_time(tmp_path: Path) -> None:
    letters = Letters()
    soon = datetime.now(UTC) + timedelta(seconds=47)
    end = run(
        [("on", {"SIGQUIT": [runs.QUITTING]}), ABORTING, runs.STARTED, runs.RECEIVED, LONG],
        tmp_path,
        letters,
        spot_at=lambda: soon,
    )
    assert end.outcome == "interrupted"
    assert stops(letters) == ["drain: spot_notice", "interrupt: spot_notice"]
    assert NOTICES[Why.SPOT_NOTICE] in (tmp_path / "work/notice").read_text()


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """The job's home on a file system without a free byte."""
    home = tmp_path / "work"
    home.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(home)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a disk that is full needs the right to mount one")
    try:
        with suppress(OSError), (home / "artifact").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        yield home
    finally:
        subprocess.run(["umount", str(home)], check=True)


def test_a_job_that_fills_the_disk_is_followed_to_its_end(full_disk: Path, tmp_path: Path) -> None:
    letters = Letters()
    soon = datetime.now(UTC) + timedelta(seconds=47)
    script = [("on", {"SIGQUIT": [runs.QUITTING]}), ABORTING, runs.STARTED, runs.RECEIVED, LONG]
    end = run(script, tmp_path, letters, spot_at=lambda: soon, meter=Meter(home=full_disk))
    assert end.outcome == "interrupted"
    assert stops(letters) == ["drain: spot_notice", "interrupt: spot_notice"]
    used = next(step for step in letters.history if step.name == "used")
    assert "0 bytes of disk left" in str(used.usage)


def test_a_disk_without_room_to_begin_is_the_machines_failure(
    full_disk: Path, tmp_path: Path
) -> None:
    with_ca = replace(credential(JOB, tmp_path), tls_ca="a certificate")
    with Reporter(Letters(), heartbeat_s=0.05) as reporter:
        end = run_one_job(with_ca, workplace(tmp_path), reporter)
    assert (end.outcome, full_disk.exists()) == ("system_failure", True)
    assert "No space left on device" in (end.detail or "")


def test_a_deaf_job_is_killed_and_then_the_runner(tmp_path: Path) -> None:
    """The clock leaps once the job runs: what takes 35 s takes none here."""
    letters, clock, pid = Letters(), Leap(), tmp_path / "pid"
    deaf = ("on", {"SIGTERM": [runs.TERMINATED], "SIGQUIT": []})
    job = ("start", f"trap '' TERM; echo $$ > {pid}; sleep 300; sleep 300")
    script = [deaf, runs.STARTED, runs.RECEIVED, job, LONG]

    def leap(line: str) -> None:
        if "received" in line:
            eventually(lambda: pid.exists() and pid.read_text() != "")
            clock.ahead = timedelta(hours=1)
        if "Requested exit" in line:
            clock.ahead += timedelta(seconds=20)

    class Impatient(Leap):
        """Once the job is dead the runner has no more time either."""

        def __call__(self) -> datetime:
            if "stopped" in letters.steps and clock.ahead:
                dead = pid.exists() and not is_alive(int(pid.read_text()))
                return clock() + timedelta(seconds=60 if dead else 0)
            return clock()

    end = run(script, tmp_path, letters, clock=Impatient(), echo=leap)
    assert end.outcome == "interrupted"
    assert stops(letters) == [
        "interrupt: end_of_machine",
        "kill_job: ignored_interrupt",
        "kill: ignored_interrupt",
    ]
    assert not is_alive(int(pid.read_text()))


@pytest.mark.parametrize(
    ("script", "detail"),
    [
        ([("say", {"msg": "Missing Token", "level": "fatal"}), ("exit", 1)], "Missing Token"),
        ([("exit", 2)], "gitlab-runner ended with code 2"),
        ([], "it ended with code 0 before it asked GitLab for a job: is it gitlab-runner?"),
    ],
)
def test_a_failing_runner_is_the_machines_failure(
    script: list[Any], detail: str, tmp_path: Path
) -> None:
    end = run(script, tmp_path, Letters())
    assert (end.outcome, end.detail) == ("system_failure", f"{FAKE}: {detail}")


def test_a_missing_binary_is_an_outcome(tmp_path: Path) -> None:
    letters = Letters()
    environment = {"PATH": runs.PATH, BINARY_VARIABLE: "/no/such/runner"}
    end = run(JOB, tmp_path, letters, environment=environment)
    assert end.outcome == "system_failure"
    assert "/no/such/runner cannot be started" in str(end.detail)
    assert letters.steps == ["runner_exited"]
    assert letters.states[-1] == "done"


def test_the_runner_gets_the_keys_of_the_cache_and_no_job_sees_them(tmp_path: Path) -> None:
    note = tmp_path / "noted.json"
    cache = CacheBucket(
        bucket="fleet-cache",
        region="eu-west-1",
        prefix="open",
        access_key="ASIA1",
        secret_key="s3cret",
        session_token="t0ken",
        keys_end_at=datetime.now(UTC),
    )
    with_cache = replace(credential([("note", str(note)), *JOB], tmp_path), cache=cache)
    place = workplace(tmp_path)
    with Reporter(Letters(), heartbeat_s=0.05) as reporter:
        run_one_job(with_cache, place, reporter)
    noted = json.loads(note.read_text())
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
