"""gitlab-runner's log as it was seen from 17.9, and as newer versions and text form write it."""

import json
from typing import Any

import pytest

from fleet.machine.mailbox import MachineState
from fleet.machine.runner_log import (
    LineKind,
    RunnerLine,
    RunnerLog,
    conclude,
    follow,
    read_log_line,
)
from fleet.steps import Outcome, StepName


def line(msg: str, level: str = "info", **fields: object) -> str:
    return json.dumps({"level": level, "msg": msg, "time": "2026-11-21T03:26:20Z", **fields})


RECEIVED = line("Checking for jobs... received", job=101, repo_url="http://h/x.git", runner="abc")
STORED = line("Appending trace to coordinator...ok", job=101, code=202)
ANSWERS = {
    word: line("Submitting job to coordinator...ok", job=101, **{"job-status": word})
    for word in ("canceling", "canceled", "failed", "running", "")
}
SUCCEEDED = line("Job succeeded", job=101, duration_s=0.5, project=7)
FAILED = line("Job failed: exit status 3\n", "warning", job=101, duration_s=0.047979526)
ABORTED = line("Job failed (system failure): aborted: terminated\n", "warning", job=101)
LIMIT = line("This runner has processed its build limit, so now exiting")
STARTED = line("Starting runner for http://h with token abcdefghi ...")
NO_JOB = line("This runner has not received a job in 4 seconds, so now exiting")
FORBIDDEN = line("Checking for jobs... forbidden", "error", status="403 Forbidden")
TERMINATED = line("Requested exit: terminated", "warning")
TIMED_OUT = line("shutdown timed out", "fatal")


@pytest.mark.parametrize(
    ("text", "kind", "job_id"),
    [
        (line("Starting runner for https://h with token abcdefghi ..."), LineKind.STARTED, None),
        (RECEIVED, LineKind.JOB_RECEIVED, 101),
        (STORED, LineKind.OUTPUT, 101),
        (line("Appending trace to coordinator... ok", job=7), LineKind.OUTPUT, 7),
        (ANSWERS["canceling"], LineKind.CANCELED, 101),
        (ANSWERS["canceled"], LineKind.CANCELED, 101),
        (line("Submitting job to coordinator...job failed", job=7, code=403), LineKind.CANCELED, 7),
        (FORBIDDEN, LineKind.FORBIDDEN, None),
        (line("Runner is not healthy!"), LineKind.UNHEALTHY, None),
        (NO_JOB, LineKind.NO_JOB_EXIT, None),
        (LIMIT, LineKind.LIMIT_EXIT, None),
        (line("Requested quit, waiting for builds to finish", "warning"), LineKind.QUITTING, None),
        (TERMINATED, LineKind.INTERRUPTED, None),
        (line("forced exit: terminated", "fatal"), LineKind.FORCED_EXIT, None),
        (TIMED_OUT, LineKind.SHUTDOWN_TIMED_OUT, None),
        (line("Missing Token", "fatal"), LineKind.FATAL, None),
    ],
)
def test_lines_that_mean_something(text: str, kind: LineKind, job_id: int | None) -> None:
    read = read_log_line(text)
    assert read is not None
    assert (read.kind, read.job_id) == (kind, job_id)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json at all",
        "{",
        "[1, 2]",
        '{"msg": 5}',
        line("Runtime platform", pid=14814),
        line("Appending trace to coordinator...failed", job=101),
        line("Failed to process build", "error", error="exit status 3"),
        line("Submitting job to coordinator...ok", job=101, code=200),
        line("Checking for jobs... failed", "warning", status="500 Internal Server Error"),
        line("Job trace termination failed", "error"),
    ],
)
def test_lines_that_mean_nothing(text: str) -> None:
    assert read_log_line(text) is None


@pytest.mark.parametrize(
    ("text", "outcome", "detail", "exit_code"),
    [
        pytest.param(SUCCEEDED, "succeeded", None, None, id="success"),
        pytest.param(FAILED, "failed", "exit status 3", 3, id="17.9 names the code in the text"),
        pytest.param(
            line("Job failed: exit code 1", job=101, exit_code=1, failure_reason="script_failure"),
            "failed",
            "exit code 1",
            1,
            id="19.x has fields",
        ),
        pytest.param(
            line("Job failed: execution took longer than 6s seconds", job=101),
            "failed",
            "execution took longer than 6s seconds",
            None,
            id="timeout",
        ),
        pytest.param(line("Job failed: canceled\n", job=101), "canceled", "canceled", None),
        pytest.param(ABORTED, "system_failure", "aborted: terminated", None, id="aborted"),
        pytest.param(
            line("Job failed: aborted: terminated", job=101, failure_reason="runner_interrupted"),
            "system_failure",
            "aborted: terminated",
            None,
            id="newer versions' own reason",
        ),
    ],
)
def test_how_a_job_ended(
    text: str, outcome: str, detail: str | None, exit_code: int | None
) -> None:
    read = read_log_line(text)
    assert read is not None
    assert (read.kind, read.job_id) == (LineKind.JOB_FINISHED, 101)
    assert (read.outcome, read.detail, read.exit_code) == (outcome, detail, exit_code)


def test_the_duration_is_in_seconds() -> None:
    read = read_log_line(FAILED)
    assert read is not None
    assert read.duration_s == pytest.approx(0.047979526)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "Checking for jobs... received                       job=101 repo_url=http://h/x.git",
            RunnerLine(kind=LineKind.JOB_RECEIVED, job_id=101, repository="x"),
            id="the runner's own text",
        ),
        pytest.param(
            "\x1b[0;33mWARNING: Job failed: exit status 3        \x1b[0;m  "
            "\x1b[0;33mduration_s\x1b[0;m=0.5 \x1b[0;33mjob\x1b[0;m=101",
            RunnerLine(
                kind=LineKind.JOB_FINISHED,
                job_id=101,
                outcome=Outcome.FAILED,
                detail="exit status 3",
                exit_code=3,
                duration_s=0.5,
            ),
            id="in colour",
        ),
        pytest.param(
            'time="2026-11-21T03:26:20Z" level=error msg="Checking for jobs... forbidden" '
            'status="403 Forbidden"',
            RunnerLine(
                kind=LineKind.FORBIDDEN, detail="Checking for jobs... forbidden (403 Forbidden)"
            ),
            id="logrus' text",
        ),
        pytest.param(
            "FATAL: Missing Token                              ",
            RunnerLine(kind=LineKind.FATAL, detail="Missing Token"),
            id="fatal as text",
        ),
    ],
)
def test_text_format_means_the_same(text: str, expected: RunnerLine) -> None:
    assert read_log_line(text) == expected


def test_a_long_error_is_cut() -> None:
    read = read_log_line(line("Job failed: " + "x" * 9000, job=101))
    assert read is not None
    assert read.detail == "x" * 500


IS_IT = "it ended with code 0 before it asked GitLab for a job: is it gitlab-runner?"


def log_of(*lines: str, exit_code: int | None = None) -> RunnerLog:
    log = RunnerLog()
    for text in lines:
        read = read_log_line(text)
        if read is not None:
            log = follow(log, read)
    return log if exit_code is None else conclude(log, exit_code=exit_code)


def test_a_runner_is_idle_until_it_has_a_job_and_busy_until_it_is_gone() -> None:
    assert (log_of().state, log_of().started) == (MachineState.IDLE, False)
    started = log_of(line("Starting runner for https://h with token abcdefghi ..."))
    assert (started.state, started.started) == (MachineState.IDLE, True)
    assert log_of(RECEIVED).state is MachineState.BUSY
    # after this line the rest of the log and the final status still go to GitLab
    assert log_of(RECEIVED, SUCCEEDED).state is MachineState.BUSY
    assert log_of(RECEIVED, SUCCEEDED, exit_code=0).state is MachineState.DONE


def test_steps_in_the_order_of_the_log() -> None:
    log = log_of(RECEIVED, STORED, STORED, FAILED, STORED, LIMIT, exit_code=0)
    assert [(step.name, step.job_id) for step in log.steps] == [
        (StepName.JOB_TAKEN, 101),
        (StepName.FIRST_OUTPUT, 101),
        (StepName.JOB_FINISHED, 101),
    ]
    assert (log.steps[-1].outcome, log.steps[-1].detail) == (Outcome.FAILED, "exit status 3")


OUTCOMES: dict[str, Any] = {
    "success": ([RECEIVED, SUCCEEDED, LIMIT], 0, "succeeded", None),
    "exit code is 0": ([RECEIVED, FAILED, LIMIT], 0, "failed", "exit status 3"),
    "system": ([RECEIVED, ABORTED], 0, "system_failure", "aborted: terminated"),
    "by us": ([RECEIVED, TERMINATED, ABORTED], 0, "interrupted", "aborted: terminated"),
    "ended before it could tell GitLab": (
        [RECEIVED, TERMINATED, TIMED_OUT], 1, "interrupted", "shutdown timed out"
    ),
    "failed just before": ([RECEIVED, TERMINATED, FAILED], 0, "failed", "exit status 3"),
    "no job": ([STARTED, NO_JOB], 0, "no_job", None),
    "another program": ([], 0, "system_failure", IS_IT),
    "stopped while idle": ([TERMINATED], 0, "no_job", None),
    "stopped in a long poll": ([TERMINATED, TIMED_OUT], 1, "no_job", None),
    "revoked token": (
        [FORBIDDEN, TERMINATED], 0, "forbidden", "Checking for jobs... forbidden (403 Forbidden)"
    ),
    "silent drop": ([RECEIVED, LIMIT], 0, "canceled", "dropped by GitLab before it began"),
    "killed from outside": (
        [RECEIVED], -9, "system_failure", "gitlab-runner ended with code -9 during the job"
    ),
    "no start": ([line("Missing Token", "fatal")], 1, "system_failure", "Missing Token"),
    "wrong flag, no log": ([], 2, "system_failure", "gitlab-runner ended with code 2"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "exit_code", "outcome", "detail"), OUTCOMES.values(), ids=OUTCOMES
)
def test_there_is_always_an_outcome(
    lines: list[str], exit_code: int, outcome: str, detail: str | None
) -> None:
    log = log_of(*lines, exit_code=exit_code)
    assert (log.outcome, log.detail) == (outcome, detail)


def test_a_second_job_takes_the_place_of_the_first() -> None:
    """`max-builds` does not count a job that was cancelled at its very start."""
    other = line("Checking for jobs... received", job=102)
    log = log_of(RECEIVED, other)
    assert (log.jobs, log.job_id, log.outcome) == (2, 102, None)
    done = log_of(RECEIVED, other, line("Job succeeded", job=102), exit_code=0)
    assert (done.job_id, done.outcome) == (102, Outcome.SUCCEEDED)
    assert [step.job_id for step in done.steps] == [101, 102, 102]


def test_a_later_job_undoes_forbidden() -> None:
    """GitLab may refuse once, by mistake, and hand out a job at the next request."""
    assert log_of(FORBIDDEN, RECEIVED, SUCCEEDED, exit_code=0).outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    ("word", "canceled", "is_over"),
    [
        ("canceling", True, False),  # its after_script runs
        ("canceled", True, True),
        ("failed", True, True),
        ("running", False, False),
        ("", False, False),
    ],
)
def test_gitlabs_answer_says_that_the_job_was_canceled(
    word: str, canceled: bool, is_over: bool
) -> None:
    log = log_of(STARTED, RECEIVED, ANSWERS[word])
    assert (log.canceled, log.is_over) == (canceled, is_over)
    assert log_of(STARTED, RECEIVED, SUCCEEDED, ANSWERS[word]).canceled is False
    again = log_of(STARTED, RECEIVED, ANSWERS[word], RECEIVED)
    assert (again.canceled, again.is_over) == (False, False)


def test_a_canceled_job_whose_runner_had_to_be_killed_was_canceled() -> None:
    log = conclude(log_of(STARTED, RECEIVED, ANSWERS["canceled"]), exit_code=-9)
    assert log.outcome == "canceled"


@pytest.mark.parametrize("exit_code", [2, -3, -9, -15])
def test_a_runner_that_we_called_off_before_a_job_did_not_fail(exit_code: int) -> None:
    """It died of a signal that it was not ready for."""
    log = conclude(log_of(STARTED), exit_code=exit_code, called_off=True)
    assert log.outcome == "no_job"
    assert conclude(log_of(STARTED), exit_code=exit_code).outcome == "system_failure"
