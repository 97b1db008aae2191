"""The history of one job in order. Pure: rows in, a value out."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from adapters.ledger.jobs import JobRow
from fleet.gitlab_failures import failure_words
from fleet.machine.mailbox import Report
from fleet.model import JobStatus
from fleet.reasons import SENTENCES, Reason
from fleet.steps import Step, StepName
from fleet.usage import Usage
from fleet.words import counted

# The label of every step.
LABELS: Mapping[StepName, str] = {
    StepName.WEBHOOK_RECEIVED: "webhook received",
    StepName.RECONCILE_FOUND: "read from GitLab's list",
    StepName.PIPELINE_READ: "read from its pipeline",
    StepName.EVENT: "event on the bus",
    StepName.IGNORED: "event ignored",
    StepName.RETRY: "retry",
    StepName.LEFT_POOL: "left its pool",
    StepName.ROUTED: "routed",
    StepName.DEMAND_SENT: "demand sent",
    StepName.WAITS: "waits",
    StepName.LAUNCHED: "launched",
    StepName.SERVED_ANOTHER: "its machine served another",
    StepName.BOOT_FAILED: "machine did not start",
    StepName.CALLED_HOME: "machine called home",
    StepName.CREDENTIAL_READ: "credential read",
    StepName.EXPOSED: "warning",
    StepName.JOB_TAKEN: "job taken",
    StepName.IMAGE: "asks for image",
    StepName.SERVICES: "asks for services",
    StepName.TAKEN: "GitLab says running",
    StepName.FIRST_OUTPUT: "first output",
    StepName.REBALANCE_NOTICE: "rebalance notice",
    StepName.SPOT_NOTICE: "spot notice",
    StepName.DRAINED: "ordered to drain",
    StepName.STOPPED: "runner ordered to stop",
    StepName.JOB_FINISHED: "job finished",
    StepName.USED: "used",
    StepName.RUNNER_EXITED: "runner exited",
    StepName.SUCCESS: "GitLab says success",
    StepName.FAILED: "GitLab says failed",
    StepName.CANCELED: "GitLab says canceled",
    StepName.SKIPPED: "GitLab says skipped",
    StepName.GONE: "gone from GitLab",
    StepName.ENDED: "machine said goodbye",
    StepName.MACHINE_GONE: "machine gone",
    StepName.RUNNER_RECORD_GONE: "runner record gone",
    StepName.GIVEN_UP: "given up",
    StepName.LEFT_OUT: "left out",
    StepName.UNKNOWN: "of a newer fleet",
}
_ORDER = {name: index for index, name in enumerate(StepName)}
# Steps with GitLab's words, about the runner that GitLab shows.
_GITLAB_SAYS = frozenset(
    {
        StepName.TAKEN,
        StepName.SUCCESS,
        StepName.FAILED,
        StepName.CANCELED,
        StepName.SKIPPED,
        StepName.GONE,
    }
)
_NAMES_ITS_RUNNER = _GITLAB_SAYS | {StepName.LAUNCHED, StepName.SERVED_ANOTHER}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One step of the history. `after_s`: since the hop before."""

    at: datetime
    step: str
    label: str
    after_s: float | None
    reason: str | None
    sentence: str  # detail and reason in words


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """One job from its webhook to the end of its machine, as far as it is."""

    job_id: int
    name: str
    project: str
    tags: tuple[str, ...]
    status: str  # GitLab's word
    pool: str | None
    attempt: int
    runner_id: str | None
    machine: str | None
    waited_s: float | None
    ran_s: float | None
    hops: tuple[Hop, ...]
    standing: str  # the stable word for where it stands
    verdict: str  # what it waits for, or how it ended
    do: str  # what to do about it; empty: nothing
    size_hint: str | None = None  # whether another size of machine is better
    usage: Usage | None = None  # what it used of its machine

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        plain = asdict(self)
        del plain["usage"]  # its hop says it
        plain["hops"] = [hop | {"at": hop["at"].isoformat()} for hop in plain["hops"]]
        return plain


def hops_of(
    row: JobRow,
    report: Report | None,
    other_jobs: Mapping[str, int] | None = None,
    made_for: Mapping[str, int] | None = None,
) -> tuple[Hop, ...]:
    """The job's hops in order: those in its row, and those that only its machine's report has.

    `other_jobs`: by runner that was launched for this job, the other job that it took; `made_for`:
    by runner that took this job, the other job that it was launched for. Hops of more than one
    runner name their runner, as they happen side by side.
    """
    other_jobs = other_jobs or {}
    steps = [*row.steps, *_reported(report, row.job.job_id), *_steps_for_others(row, other_jobs)]
    is_shared = len({step.runner for step in steps if step.runner}) > 1
    worded = [(step, _named(step) if is_shared else words_of(step)) for step in steps]
    worded = [(step, _with_origin(step, words, made_for or {})) for step, words in worded]
    unique = {(step.at, step.name, words): (step, words) for step, words in worded}
    ordered = sorted(unique.values(), key=lambda pair: (pair[0].at, _ORDER[pair[0].name]))
    times = [None, *(step.at for step, _ in ordered)]
    return tuple(
        _hop(step, words, before) for (step, words), before in zip(ordered, times, strict=False)
    )


def launched_for(row: JobRow) -> tuple[str, ...]:
    """The runners that were launched for a job, in order."""
    launched = (step.runner for step in row.steps if step.name is StepName.LAUNCHED)
    return tuple(dict.fromkeys(runner for runner in launched if runner))


def words_of(step: Step) -> str:
    """The facts of a step in words, its reason aside; empty when there are none."""
    wording = _WORDS.get(step.name)
    return (
        wording(step)
        if wording
        else step.delivery_id or step.detail or step.machine or step.pool or ""
    )


def why_of(step: Step) -> str:
    """The reason of a step in words: of a launch none, as an earlier step says what it was for."""
    return "" if step.name is StepName.LAUNCHED else sentence_of(_reason(step))


def _reason(step: Step) -> str | None:
    return step.reason.value if step.reason else step.failure


def _joined(by: str, *parts: str | None) -> str:
    return by.join(part for part in parts if part)


def _sent(step: Step) -> str:
    if step.attempts:
        return f"attempt {step.attempt} of {step.attempts} failed: {step.cause}"
    attempt = f"attempt {step.attempt}" if step.attempt else None
    return _joined(", ", attempt, f"pool {step.pool}" if step.pool else None)


def _launched(step: Step) -> str:
    machine = f"on {step.machine}" if step.machine else None
    return _joined(" ", step.runner, machine, f"in pool {step.pool}" if step.pool else None)


def _retried(step: Step) -> str:
    if step.retry_of:
        return f"of job {step.retry_of}"
    if step.retried_as:
        return f"as job {step.retried_as}"
    return f"not possible: {step.detail}" if step.detail else ""


_WORDS: Mapping[StepName, Callable[[Step], str]] = {
    StepName.WEBHOOK_RECEIVED: lambda step: _joined(", ", step.detail, step.delivery_id),
    StepName.PIPELINE_READ: lambda step: f"with job {step.job_id}" if step.job_id else "",
    StepName.RETRY: _retried,
    StepName.USED: lambda step: str(step.usage or ""),
    StepName.ROUTED: lambda step: f"to pool {step.pool}" if step.pool else "",
    StepName.DEMAND_SENT: _sent,
    StepName.LAUNCHED: _launched,
    StepName.SERVED_ANOTHER: lambda step: (
        f"{step.runner} took job {step.job_id}; any runner of the pool may take this one"
    ),
    StepName.JOB_FINISHED: lambda step: _joined(": ", step.outcome, step.detail),
    StepName.RUNNER_EXITED: lambda step: _joined(": ", step.outcome, step.detail),
    **dict.fromkeys(_GITLAB_SAYS, lambda step: step.runner or step.detail or ""),
    StepName.GIVEN_UP: _sent,
    StepName.LEFT_OUT: lambda step: f"{counted(step.count or 0, 'step')}, for newer ones",
}


def _named(step: Step) -> str:
    """The words of a step, with its runner."""
    words = words_of(step)
    if step.runner is None or step.name in _NAMES_ITS_RUNNER:
        return words
    return f"{step.runner}: {words}" if words else step.runner


def _with_origin(step: Step, words: str, made_for: Mapping[str, int]) -> str:
    """The words of GitLab's start of a job, with the job that its machine was launched for."""
    origin = made_for.get(step.runner or "")
    if step.name is not StepName.TAKEN or origin is None:
        return words
    return f"{words}, which was launched for job {origin}"


def _steps_for_others(row: JobRow, other_jobs: Mapping[str, int]) -> Iterable[Step]:
    """A step behind each launch whose machine served another job."""
    for step in row.steps:
        runner = step.runner
        if step.name is StepName.LAUNCHED and runner is not None and runner in other_jobs:
            name = StepName.SERVED_ANOTHER
            yield Step(at=step.at, name=name, runner=runner, job_id=other_jobs[runner])


def word_of(row: JobRow) -> str:
    """GitLab's word for how far the job is."""
    job = row.job
    if job.status is JobStatus.FINISHED:
        return job.outcome or "finished"
    return job.status.name.lower()


def sentence_of(reason: str | None) -> str:
    """A reason of ours or of GitLab's in words: empty for none, and an unknown one as it is."""
    return SENTENCES[Reason(reason)] if reason in set(Reason) else failure_words(reason or "")


def _reported(report: Report | None, job_id: int) -> Iterable[Step]:
    """The machine's steps that are not in the row yet: they are written there at its end."""
    for step in report.steps if report else ():
        if step.job_id in (None, job_id):
            yield replace(step, runner=report.runner_id if report else None)


def _hop(step: Step, words: str, before: datetime | None) -> Hop:
    name, label = str(step.name), LABELS[step.name]
    if step.name is StepName.UNKNOWN and step.detail:
        name, label, words = step.detail, step.detail.replace("_", " "), ""
    return Hop(
        at=step.at,
        step=name,
        label=label,
        after_s=(step.at - before).total_seconds() if before else None,
        reason=_reason(step),
        sentence=_joined(": ", words, why_of(step)),
    )
