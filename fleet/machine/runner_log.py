"""Read what gitlab-runner writes on stderr, line by line, and fold it into what happened.

Pure. Tolerant of versions: 17.9 writes `coordinator...ok` and few fields, 19.x `coordinator... ok`
and more; both formats, JSON and text, are read. Source: gitlab-runner's `network/gitlab.go`,
`common/build.go`, `commands/single.go`, and lines seen from the binary itself.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from fleet.machine.mailbox import MachineState
from fleet.steps import Outcome, StepName, Undated


class LineKind(StrEnum):
    """What a line means to us. Other lines mean nothing and are read as `None`."""

    STARTED = "started"  # the runner has its configuration and is about to ask for a job
    JOB_RECEIVED = "job_received"
    OUTPUT = "output"  # GitLab has stored a piece of the job's log
    JOB_FINISHED = "job_finished"
    FORBIDDEN = "forbidden"
    UNHEALTHY = "unhealthy"
    NO_JOB_EXIT = "no_job_exit"
    LIMIT_EXIT = "limit_exit"
    CANCELED = "canceled"  # GitLab answers that the job is canceled, or no longer the runner's
    QUITTING = "quitting"  # SIGQUIT was heard
    INTERRUPTED = "interrupted"  # SIGTERM was heard
    FORCED_EXIT = "forced_exit"
    SHUTDOWN_TIMED_OUT = "shutdown_timed_out"
    FATAL = "fatal"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerLine:
    """One line that means something."""

    kind: LineKind
    job_id: int | None = None
    outcome: Outcome | None = None  # of `JOB_FINISHED`: succeeded, failed, system_failure, canceled
    detail: str | None = None
    exit_code: int | None = None  # of the job's script
    duration_s: float | None = None
    is_over: bool = (
        False  # of `CANCELED`: GitLab takes no more word of the job, no after_script runs
    )


_KINDS = (
    ("Starting runner for ", LineKind.STARTED),
    ("Checking for jobs... received", LineKind.JOB_RECEIVED),
    ("Checking for jobs... forbidden", LineKind.FORBIDDEN),
    ("Runner is not healthy!", LineKind.UNHEALTHY),
    ("Job succeeded", LineKind.JOB_FINISHED),
    ("Job failed", LineKind.JOB_FINISHED),
    ("This runner has processed its build limit", LineKind.LIMIT_EXIT),
    ("This runner has not received a job", LineKind.NO_JOB_EXIT),
    ("Requested quit", LineKind.QUITTING),
    ("Requested exit", LineKind.INTERRUPTED),
    ("forced exit", LineKind.FORCED_EXIT),
    ("shutdown timed out", LineKind.SHUTDOWN_TIMED_OUT),
)
# By GitLab's answers to these the runner learns that its job was canceled.
_UPDATES = ("Appending trace to coordinator", "Submitting job to coordinator")
_ENDED = frozenset({"canceling", "canceled", "failed"})
_STORED = re.compile(r"Appending trace to coordinator\.\.\. ?ok")
_EXIT_CODE = re.compile(r"exit (?:status|code) (\d+)")
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LEVEL = re.compile(r"(FATAL|PANIC|ERROR|WARNING): ")
_FIRST_FIELD = re.compile(r"\s+(?=[\w-]+=)")
_FIELD = re.compile(r'([\w-]+)=("(?:[^"\\]|\\.)*"|\S*)')
_FATAL_LEVELS = frozenset({"fatal", "panic"})
_DETAIL_AT_MOST = 500  # characters; a script's error may be long


def read_log_line(line: str) -> RunnerLine | None:
    """What one line of gitlab-runner's stderr means, or `None` when it means nothing to us."""
    fields = _read_fields(line)
    message = str(fields.get("msg", "")).strip()
    kind = next((kind for start, kind in _KINDS if message.startswith(start)), None)
    if message.startswith(_UPDATES) and _is_over(message, fields):
        kind = LineKind.CANCELED
    if kind is None and _STORED.match(message):
        kind = LineKind.OUTPUT
    if kind is None and fields.get("level") in _FATAL_LEVELS:
        kind = LineKind.FATAL
    if kind is None:
        return None
    job_id = _number(fields.get("job"))
    if kind is LineKind.JOB_FINISHED:
        return _read_finish(message, fields)
    return RunnerLine(
        kind=kind,
        job_id=None if job_id is None else int(job_id),
        detail=_said(message, fields) if kind in _TELLING else None,
        is_over=kind is LineKind.CANCELED and fields.get("job-status") != "canceling",
    )


_TELLING = frozenset(
    {
        LineKind.FORBIDDEN,
        LineKind.FATAL,
        LineKind.FORCED_EXIT,
        LineKind.SHUTDOWN_TIMED_OUT,
        LineKind.INTERRUPTED,
    }
)


def _is_over(message: str, fields: Mapping[str, Any]) -> bool:
    """Source: `RemoteJobStateResponse` and who reads it, in `network/`."""
    return fields.get("job-status") in _ENDED or message.endswith("job failed")


def _read_finish(message: str, fields: Mapping[str, Any]) -> RunnerLine:
    """Class the end of a job by its message; newer versions' fields only add to it."""
    head, _, detail = message.partition(":")
    detail = detail.strip()
    job_id, exit_code = _number(fields.get("job")), _number(fields.get("exit_code"))
    said = _EXIT_CODE.search(detail)
    if exit_code is None and said:
        exit_code = float(said.group(1))
    return RunnerLine(
        kind=LineKind.JOB_FINISHED,
        job_id=None if job_id is None else int(job_id),
        outcome=_class_of(head, detail, str(fields.get("failure_reason", ""))),
        detail=detail[:_DETAIL_AT_MOST] or None,
        exit_code=None if exit_code is None else int(exit_code),
        duration_s=_number(fields.get("duration_s")),
    )


def _class_of(head: str, detail: str, reason: str) -> Outcome:
    if head.startswith("Job succeeded"):
        return Outcome.SUCCEEDED
    if detail == "canceled" or reason == "job_canceled":
        return Outcome.CANCELED
    if "(system failure)" in head or reason in {"runner_system_failure", "runner_interrupted"}:
        return Outcome.SYSTEM_FAILURE
    return Outcome.FAILED


def _said(message: str, fields: Mapping[str, Any]) -> str:
    more = fields.get("error") or fields.get("status")
    return f"{message} ({more})"[:_DETAIL_AT_MOST] if more else message[:_DETAIL_AT_MOST]


def _read_fields(line: str) -> Mapping[str, Any]:
    """The fields of a line in JSON, in logrus' `key=value` or in the runner's own text form."""
    text = _COLOURS.sub("", line).strip()
    if text.startswith("{"):
        try:
            read = json.loads(text)
        except ValueError:
            return {}
        return read if isinstance(read, dict) else {}
    if text.startswith("time="):
        return {key: value.strip('"') for key, value in _FIELD.findall(text)}
    level = _LEVEL.match(text)
    message, *rest = _FIRST_FIELD.split(text[level.end() :] if level else text, maxsplit=1)
    fields = {key: value.strip('"') for key, value in _FIELD.findall(rest[0])} if rest else {}
    return fields | {"msg": message, "level": level.group(1).lower() if level else "info"}


def _number(value: object) -> float | None:
    try:
        return None if isinstance(value, bool) else float(str(value))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Follower:
    """What a runner's log told up to now."""

    state: MachineState = MachineState.IDLE
    started: bool = False
    quitting: bool = False  # SIGQUIT was heard
    job_id: int | None = None
    outcome: Outcome | None = None
    detail: str | None = None
    jobs: int = 0  # received; one, unless the first was cancelled at its very start
    forbidden: bool = False
    interrupted: bool = False
    canceled: bool = False  # GitLab told the runner so while the job ran
    is_over: bool = False  # and waits for nothing more of it
    fatal: str | None = None
    steps: tuple[Undated, ...] = ()


def follow(seen: Follower, line: RunnerLine) -> Follower:
    """What is known after one more line."""
    learn = _LEARN.get(line.kind)
    return learn(seen, line) if learn else seen


def conclude(seen: Follower, *, exit_code: int, called_off: bool = False) -> Follower:
    """What is known once the process has ended: there is always an outcome.

    The exit code alone tells little: it is 0 when a job failed and when none came. `called_off`:
    we ended it, so without a job it did not fail, in whatever way it died.
    """
    if seen.outcome:
        return replace(seen, state=MachineState.DONE)
    if seen.jobs:
        return replace(seen, state=MachineState.DONE, **_lost(seen, exit_code))
    outcome, detail = Outcome.NO_JOB, seen.detail
    if seen.forbidden:
        outcome = Outcome.FORBIDDEN
    elif called_off and exit_code != 0:
        detail = detail or "it was told to stop before it had a job"
    elif exit_code != 0 and not seen.interrupted:
        outcome = Outcome.SYSTEM_FAILURE
        detail = seen.fatal or f"gitlab-runner ended with code {exit_code}"
    elif not seen.started and not seen.interrupted:
        outcome = Outcome.SYSTEM_FAILURE
        detail = "it ended with code 0 before it asked GitLab for a job: is it gitlab-runner?"
    return replace(seen, state=MachineState.DONE, outcome=outcome, detail=detail)


def _lost(seen: Follower, exit_code: int) -> dict[str, Any]:
    """How a job ended of which the log does not say it."""
    if seen.interrupted:
        told = "the runner ended before it could tell GitLab how the job ended"
        return {"outcome": Outcome.INTERRUPTED, "detail": seen.fatal or told}
    if seen.canceled:
        return {"outcome": Outcome.CANCELED, "detail": "its runner did not end by itself"}
    if exit_code == 0:
        return {"outcome": Outcome.CANCELED, "detail": "dropped by GitLab before it began"}
    told = f"gitlab-runner ended with code {exit_code} during the job"
    return {"outcome": Outcome.SYSTEM_FAILURE, "detail": seen.fatal or told}


def _took(seen: Follower, line: RunnerLine) -> Follower:
    return replace(
        seen,
        state=MachineState.BUSY,
        job_id=line.job_id,
        outcome=None,
        detail=None,
        jobs=seen.jobs + 1,
        canceled=False,
        is_over=False,
        steps=(*seen.steps, Undated(name=StepName.JOB_TAKEN, job_id=line.job_id)),
    )


def _canceled(seen: Follower, line: RunnerLine) -> Follower:
    if seen.outcome is not None:  # the answer to the runner's last word of its job
        return seen
    return replace(seen, canceled=True, is_over=seen.is_over or line.is_over)


def _stored(seen: Follower, line: RunnerLine) -> Follower:
    said = Undated(name=StepName.FIRST_OUTPUT, job_id=line.job_id or seen.job_id)
    return seen if said in seen.steps else replace(seen, steps=(*seen.steps, said))


def _finished(seen: Follower, line: RunnerLine) -> Follower:
    outcome = line.outcome
    if seen.interrupted and outcome is Outcome.SYSTEM_FAILURE:
        outcome = Outcome.INTERRUPTED
    job_id = line.job_id or seen.job_id
    said = Undated(name=StepName.JOB_FINISHED, job_id=job_id, outcome=outcome, detail=line.detail)
    return replace(  # still busy: the rest of the log and the final status go to GitLab after this
        seen,
        outcome=outcome,
        detail=line.detail,
        job_id=job_id,
        steps=(*seen.steps, said),
    )


_LEARN: Mapping[LineKind, Callable[[Follower, RunnerLine], Follower]] = {
    LineKind.STARTED: lambda seen, line: replace(seen, started=True),
    LineKind.JOB_RECEIVED: _took,
    LineKind.OUTPUT: _stored,
    LineKind.JOB_FINISHED: _finished,
    LineKind.CANCELED: _canceled,
    LineKind.FORBIDDEN: lambda seen, line: replace(seen, forbidden=True, detail=line.detail),
    LineKind.QUITTING: lambda seen, line: replace(seen, quitting=True),
    LineKind.INTERRUPTED: lambda seen, line: replace(seen, interrupted=True),
    **dict.fromkeys(
        (LineKind.FATAL, LineKind.FORCED_EXIT, LineKind.SHUTDOWN_TIMED_OUT),
        lambda seen, line: replace(seen, fatal=line.detail),
    ),
}
