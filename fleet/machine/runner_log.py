"""The log that gitlab-runner writes on stderr: each line's meaning, and the state they add up to.

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
from urllib.parse import urlsplit

from fleet.machine.mailbox import MachineState
from fleet.steps import Outcome, StepName, Undated


class LineKind(StrEnum):
    """The meaning of a line. A line without one of these is read as `None`."""

    STARTED = "started"  # the runner has its configuration and asks for a job next
    JOB_RECEIVED = "job_received"
    IMAGE = "image"  # of the job, by its configuration
    SERVICE = "service"  # a service of the job
    OUTPUT = "output"  # GitLab has stored a piece of the job's log
    JOB_FINISHED = "job_finished"
    FORBIDDEN = "forbidden"
    UNHEALTHY = "unhealthy"
    NO_JOB_EXIT = "no_job_exit"
    LIMIT_EXIT = "limit_exit"
    CANCELED = "canceled"  # GitLab answers that the job is canceled, or no longer the runner's
    QUITTING = "quitting"  # the runner handles SIGQUIT
    INTERRUPTED = "interrupted"  # the runner handles SIGTERM
    FORCED_EXIT = "forced_exit"
    SHUTDOWN_TIMED_OUT = "shutdown_timed_out"
    FATAL = "fatal"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerLine:
    """One line with a meaning."""

    kind: LineKind
    job_id: int | None = None
    outcome: Outcome | None = None  # of `JOB_FINISHED`: succeeded, failed, system_failure, canceled
    detail: str | None = None
    exit_code: int | None = None  # of the job's script
    duration_s: float | None = None
    repository: str | None = None  # of `JOB_RECEIVED`: the path in the repository's address
    # Of `CANCELED`: GitLab takes no more updates of the job, no after_script runs.
    is_over: bool = False


_KINDS = (
    ("Starting runner for ", LineKind.STARTED),
    ("Checking for jobs... received", LineKind.JOB_RECEIVED),
    ("Checking for jobs... forbidden", LineKind.FORBIDDEN),
    ("Image configured for job", LineKind.IMAGE),
    ("Service image configured for job", LineKind.SERVICE),
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
# GitLab's answers to these tell the runner that its job was canceled.
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
_TOO_LARGE = 2**53  # no id, code or duration is as large; NaN is not below it either
_STEPS_AT_MOST = 200  # of one process, which serves one job


def read_log_line(line: str) -> RunnerLine | None:
    """The meaning of one line of gitlab-runner's stderr; `None` when it has none here.

    Raises nothing: where a job is root it can write there what it likes.
    """
    fields = _read_fields(line)
    message = str(fields.get("msg", "")).strip()
    kind = next((kind for start, kind in _KINDS if message.startswith(start)), None)
    if message.startswith(_UPDATES) and _is_over(message, fields):
        kind = LineKind.CANCELED
    if kind is None and _STORED.match(message):
        kind = LineKind.OUTPUT
    if kind is None and str(fields.get("level")) in _FATAL_LEVELS:
        kind = LineKind.FATAL
    if kind is None:
        return None
    job_id = _whole(fields.get("job"))
    if kind is LineKind.JOB_FINISHED:
        return _read_finish(message, fields)
    return RunnerLine(
        kind=kind,
        job_id=job_id,
        repository=_repository(fields) if kind is LineKind.JOB_RECEIVED else None,
        detail=_detail_of(message, fields) if kind in _WITH_DETAIL else _image(fields),
        is_over=kind is LineKind.CANCELED and fields.get("job-status") != "canceling",
    )


_WITH_DETAIL = frozenset(
    {
        LineKind.FORBIDDEN,
        LineKind.FATAL,
        LineKind.FORCED_EXIT,
        LineKind.SHUTDOWN_TIMED_OUT,
        LineKind.INTERRUPTED,
    }
)


def _image(fields: Mapping[str, Any]) -> str | None:
    """Source: the feature flag FF_LOG_IMAGES_CONFIGURED_FOR_JOB, `common/build.go`."""
    return str(fields.get("image_name") or "")[:_DETAIL_AT_MOST] or None


def _repository(fields: Mapping[str, Any]) -> str | None:
    """`group/project` of `https://gitlab.example.com/group/project.git`."""
    try:
        path = urlsplit(str(fields.get("repo_url") or "")).path
    except ValueError:
        return None
    return path.strip("/").removesuffix(".git") or None


def _is_over(message: str, fields: Mapping[str, Any]) -> bool:
    """Source: `RemoteJobStateResponse` and its readers, in `network/`."""
    return str(fields.get("job-status")) in _ENDED or message.endswith("job failed")


def _read_finish(message: str, fields: Mapping[str, Any]) -> RunnerLine:
    """Class the end of a job by its message; newer versions' fields only add to it."""
    head, _, detail = message.partition(":")
    detail = detail.strip()
    exit_code = _whole(fields.get("exit_code"))
    code = _EXIT_CODE.search(detail)
    if exit_code is None and code:
        exit_code = _whole(code.group(1))
    return RunnerLine(
        kind=LineKind.JOB_FINISHED,
        job_id=_whole(fields.get("job")),
        outcome=_class_of(head, detail, str(fields.get("failure_reason", ""))),
        detail=detail[:_DETAIL_AT_MOST] or None,
        exit_code=exit_code,
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


def _detail_of(message: str, fields: Mapping[str, Any]) -> str:
    more = fields.get("error") or fields.get("status")
    return f"{message} ({more})"[:_DETAIL_AT_MOST] if more else message[:_DETAIL_AT_MOST]


def _read_fields(line: str) -> Mapping[str, Any]:
    """The fields of a line in JSON, in logrus' `key=value` or in the runner's own text form."""
    text = _COLOURS.sub("", line).strip()
    if text.startswith("{"):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}
    if text.startswith("time="):
        return {key: value.strip('"') for key, value in _FIELD.findall(text)}
    level = _LEVEL.match(text)
    message, *rest = _FIRST_FIELD.split(text[level.end() :] if level else text, maxsplit=1)
    fields = {key: value.strip('"') for key, value in _FIELD.findall(rest[0])} if rest else {}
    return fields | {"msg": message, "level": level.group(1).lower() if level else "info"}


def _number(value: object) -> float | None:
    try:
        number = float("nan" if isinstance(value, bool) else str(value))
    except ValueError:
        return None
    return number if abs(number) < _TOO_LARGE else None


def _whole(value: object) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerLog:
    """The state of a runner by its log up to now."""

    state: MachineState = MachineState.IDLE
    started: bool = False
    quitting: bool = False  # the runner handles SIGQUIT
    job_id: int | None = None
    repositories: tuple[str, ...] = ()  # of the jobs received
    outcome: Outcome | None = None
    detail: str | None = None
    jobs: int = 0  # received; more than 1 only when the first was canceled at its very start
    forbidden: bool = False
    interrupted: bool = False
    canceled: bool = False  # GitLab answered so while the job ran
    is_over: bool = False  # and GitLab takes no more updates of the job
    fatal: str | None = None
    steps: tuple[Undated, ...] = ()


def follow(log: RunnerLog, line: RunnerLine) -> RunnerLog:
    """The state after one more line. Of lines without end the first make steps: it stays small."""
    fold = _FOLDS.get(line.kind)
    if fold is None:
        return log
    after = fold(log, line)
    if len(after.steps) <= _STEPS_AT_MOST:
        return after
    return replace(after, steps=log.steps, repositories=log.repositories)


def conclude(log: RunnerLog, *, exit_code: int, called_off: bool = False) -> RunnerLog:
    """The state after the process ended with `exit_code`; it always has an outcome.

    The exit code is 0 also when a job failed and when GitLab gave none. `called_off`: the fleet
    ended the process, so without a job it did not fail, whatever its exit code.
    """
    if log.outcome:
        return replace(log, state=MachineState.DONE)
    if log.jobs:
        return replace(log, state=MachineState.DONE, **_unreported_end(log, exit_code))
    outcome, detail = Outcome.NO_JOB, log.detail
    if log.forbidden:
        outcome = Outcome.FORBIDDEN
    elif called_off and exit_code != 0:
        detail = detail or "it was stopped before it had a job"
    elif exit_code != 0 and not log.interrupted:
        outcome = Outcome.SYSTEM_FAILURE
        detail = log.fatal or f"gitlab-runner ended with code {exit_code}"
    elif not log.started and not log.interrupted:
        outcome = Outcome.SYSTEM_FAILURE
        detail = "it ended with code 0 before it asked GitLab for a job: is it gitlab-runner?"
    return replace(log, state=MachineState.DONE, outcome=outcome, detail=detail)


def _unreported_end(log: RunnerLog, exit_code: int) -> dict[str, Any]:
    """The outcome and detail of a job whose end the log does not have."""
    if log.interrupted:
        detail = "the runner ended before it could tell GitLab how the job ended"
        return {"outcome": Outcome.INTERRUPTED, "detail": log.fatal or detail}
    if log.canceled:
        return {"outcome": Outcome.CANCELED, "detail": "its runner did not end by itself"}
    if exit_code == 0:
        return {"outcome": Outcome.CANCELED, "detail": "dropped by GitLab before it began"}
    detail = f"gitlab-runner ended with code {exit_code} during the job"
    return {"outcome": Outcome.SYSTEM_FAILURE, "detail": log.fatal or detail}


def _job_received(log: RunnerLog, line: RunnerLine) -> RunnerLog:
    return replace(
        log,
        state=MachineState.BUSY,
        job_id=line.job_id,
        outcome=None,
        detail=None,
        jobs=log.jobs + 1,
        repositories=(*log.repositories, *((line.repository,) if line.repository else ())),
        canceled=False,
        is_over=False,
        steps=(*log.steps, Undated(name=StepName.JOB_TAKEN, job_id=line.job_id)),
    )


def _job_canceled(log: RunnerLog, line: RunnerLine) -> RunnerLog:
    if log.outcome is not None:  # the answer to the runner's last update of its job
        return log
    return replace(log, canceled=True, is_over=log.is_over or line.is_over)


def _image_named(log: RunnerLog, line: RunnerLine) -> RunnerLog:
    name = StepName.IMAGE if line.kind is LineKind.IMAGE else StepName.SERVICES
    step = Undated(name=name, job_id=line.job_id or log.job_id, detail=line.detail)
    is_known = any(known.name is name and known.job_id == step.job_id for known in log.steps)
    return log if is_known or not line.detail else replace(log, steps=(*log.steps, step))


def _output_stored(log: RunnerLog, line: RunnerLine) -> RunnerLog:
    step = Undated(name=StepName.FIRST_OUTPUT, job_id=line.job_id or log.job_id)
    return log if step in log.steps else replace(log, steps=(*log.steps, step))


def _job_finished(log: RunnerLog, line: RunnerLine) -> RunnerLog:
    outcome = line.outcome
    if log.interrupted and outcome is Outcome.SYSTEM_FAILURE:
        outcome = Outcome.INTERRUPTED
    job_id = line.job_id or log.job_id
    step = Undated(name=StepName.JOB_FINISHED, job_id=job_id, outcome=outcome, detail=line.detail)
    return replace(  # still busy: the rest of the log and the final status go to GitLab next
        log,
        outcome=outcome,
        detail=line.detail,
        job_id=job_id,
        steps=(*log.steps, step),
    )


_FOLDS: Mapping[LineKind, Callable[[RunnerLog, RunnerLine], RunnerLog]] = {
    LineKind.STARTED: lambda log, line: replace(log, started=True),
    LineKind.JOB_RECEIVED: _job_received,
    LineKind.IMAGE: _image_named,
    LineKind.SERVICE: _image_named,
    LineKind.OUTPUT: _output_stored,
    LineKind.JOB_FINISHED: _job_finished,
    LineKind.CANCELED: _job_canceled,
    LineKind.FORBIDDEN: lambda log, line: replace(log, forbidden=True, detail=line.detail),
    LineKind.QUITTING: lambda log, line: replace(log, quitting=True),
    LineKind.INTERRUPTED: lambda log, line: replace(log, interrupted=True),
    **dict.fromkeys(
        (LineKind.FATAL, LineKind.FORCED_EXIT, LineKind.SHUTDOWN_TIMED_OUT),
        lambda log, line: replace(log, fatal=line.detail),
    ),
}
