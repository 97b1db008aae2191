"""What happened to one job, in the order in which it happened. Pure: rows in, a value out."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from adapters.ledger.jobs import JobRow, Step
from fleet.machine.mailbox import Report
from fleet.model import Status
from fleet.reasons import SENTENCES, Reason

# Every step there is, in the order of a job's life, with the words that people read. Steps that
# happened at the same moment are told in this order.
LABELS = {
    "webhook_received": "webhook received",
    "reconcile_found": "found in GitLab's list",
    "found": "found in its pipeline",
    "event": "event on the bus",
    "ignored": "event ignored",
    "retry": "retry",
    "left_pool": "left its pool",
    "routed": "routed",
    "demand_sent": "demand sent",
    "waits": "waits",
    "launched": "launched",
    "served_another": "its machine served another",
    "called_home": "machine called home",
    "credential_read": "credential read",
    "job_taken": "job taken",
    "taken": "GitLab says running",
    "first_output": "first output",
    "rebalance_notice": "rebalance notice",
    "spot_notice": "spot notice",
    "drained": "ordered to drain",
    "stopped": "runner told to stop",
    "job_finished": "job finished",
    "runner_exited": "runner exited",
    "success": "GitLab says success",
    "failed": "GitLab says failed",
    "canceled": "GitLab says canceled",
    "skipped": "GitLab says skipped",
    "gone": "gone from GitLab",
    "ended": "machine said goodbye",
    "machine_gone": "machine gone",
    "runner_record_gone": "runner record gone",
    "given_up": "given up",
}
_ORDER = {step: place for place, step in enumerate(LABELS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One step of the way. `after_s`: since the one before it."""

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
    verdict: str  # what it waits for, or how it ended
    do: str  # what to do about it; empty: nothing

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        told = asdict(self)
        told["hops"] = [hop | {"at": hop["at"].isoformat()} for hop in told["hops"]]
        return told


def hops_of(
    row: JobRow, report: Report | None, took: Mapping[str, int] | None = None
) -> tuple[Hop, ...]:
    """The job's hops in order: those in its row, and those that only its machine's report has.

    `took` has the jobs that runners took which were launched for this one. Where the hops are of
    more than one runner each says of which: they happen side by side.
    """
    took = took or {}
    steps = [*row.steps, *_reported(report, row.job.job_id), *_elsewhere(row, took)]
    runners = {step.runner for step in steps if step.runner} | set(launched_for(row))
    if len(runners) > 1:
        steps = [_named(step) for step in steps]
    unique = {(step.at, step.step, step.detail): step for step in steps}
    ordered = sorted(unique.values(), key=lambda one: (one.at, _ORDER.get(one.step, len(_ORDER))))
    return tuple(
        _hop(step, before) for step, before in zip(ordered, [None, *ordered], strict=False)
    )


def launched_for(row: JobRow) -> tuple[str, ...]:
    """The runners that were launched for a job, in order."""
    details = (step.detail for step in row.steps if step.step == "launched" and step.detail)
    return tuple(dict.fromkeys(detail.partition(" ")[0] for detail in details))


def _elsewhere(row: JobRow, took: Mapping[str, int]) -> Iterable[Step]:
    """That a machine which was launched for the job served another one, behind its launch."""
    for step in row.steps:
        runner = (step.detail or "").partition(" ")[0]
        if step.step == "launched" and runner in took:
            detail = f"{runner} took job {took[runner]}; any runner of the pool may take this one"
            yield Step(at=step.at, step="served_another", detail=detail)


def _named(step: Step) -> Step:
    """A step that says of which runner it is."""
    detail = step.detail or ""
    if step.runner is None or step.runner in detail:
        return step
    return replace(step, detail=f"{step.runner}: {detail}" if detail else step.runner)


def word_of(row: JobRow) -> str:
    """GitLab's word for how far the job is."""
    job = row.job
    if job.status is Status.FINISHED:
        return job.outcome or "finished"
    return job.status.name.lower()


def sentence_of(reason: str | None) -> str:
    """A reason in words; nothing for none, and itself when it is not one of ours."""
    return SENTENCES[Reason(reason)] if reason in set(Reason) else reason or ""


def _reported(report: Report | None, job_id: int) -> Iterable[Step]:
    """What the machine told and nobody has written into the row yet: that is done at its end."""
    for told in report.steps if report else ():
        if told.job_id in (None, job_id):
            runner = report.runner_id if report else None
            yield Step(at=told.at, step=told.name.value, detail=told.detail, runner=runner)


def _hop(step: Step, before: Step | None) -> Hop:
    detail = step.detail or ""
    if step.step == "routed" and detail:
        detail = f"to pool {detail}"
    # Why it was launched is what it waited for, which the steps before have told.
    why = "" if step.step == "launched" else sentence_of(step.reason)
    return Hop(
        at=step.at,
        step=step.step,
        label=LABELS.get(step.step, step.step.replace("_", " ")),
        after_s=(step.at - before.at).total_seconds() if before else None,
        reason=step.reason,
        sentence=": ".join(part for part in (detail, why) if part),
    )
