"""The steps of a job's history: what happened, when, and the facts of it. Pure.

The fleet writes its steps into the job's row, a machine into its report; `explain` shows both.
Rules read the fields; only `explain` makes words of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from fleet.reasons import Reason
from fleet.times import HasUtcTimes, in_utc
from fleet.usage import Usage

# Steps of one row at most: it is one item of DynamoDB, of at most 400 KB.
MOST = 60
FIRST, LAST = 15, 30  # kept of more than that
LONGEST = 300  # characters of a fact; GitLab's delivery id has at most 255
NUMBER_BELOW = 2**63  # of each number that a machine writes


class StepName(StrEnum):
    """Every step there is, in the order of a job's life: those of one moment are shown in it."""

    WEBHOOK_RECEIVED = "webhook_received"
    RECONCILE_FOUND = "reconcile_found"
    PIPELINE_READ = "pipeline_read"  # for the webhook of another of its jobs, `job_id`
    EVENT = "event"
    IGNORED = "ignored"
    RETRY = "retry"
    LEFT_POOL = "left_pool"
    ROUTED = "routed"
    DEMAND_SENT = "demand_sent"
    WAITS = "waits"
    LAUNCHED = "launched"
    SERVED_ANOTHER = "served_another"  # the job `job_id`
    BOOT_FAILED = "boot_failed"  # no agent runs there; `detail`: why
    CALLED_HOME = "called_home"
    CREDENTIAL_READ = "credential_read"
    EXPOSED = "exposed"  # jobs can read gitlab-runner's memory; `detail`: why
    JOB_TAKEN = "job_taken"  # by the runner's log
    IMAGE = "image"  # the job's own; `detail`: its name
    SERVICES = "services"  # the job has some; `detail`: the image of the first
    TAKEN = "taken"  # by GitLab's webhook
    FIRST_OUTPUT = "first_output"
    REBALANCE_NOTICE = "rebalance_notice"
    SPOT_NOTICE = "spot_notice"
    DRAINED = "drained"
    STOPPED = "stopped"  # `detail`: how, and why
    JOB_FINISHED = "job_finished"
    USED = "used"  # `usage`: of its machine
    RUNNER_EXITED = "runner_exited"
    SUCCESS = "success"  # GitLab's words for the end of a job
    FAILED = "failed"
    CANCELED = "canceled"
    SKIPPED = "skipped"
    GONE = "gone"
    ENDED = "ended"
    MACHINE_GONE = "machine_gone"
    RUNNER_RECORD_GONE = "runner_record_gone"
    GIVEN_UP = "given_up"
    LEFT_OUT = "left_out"  # `count` steps made room for newer ones
    UNKNOWN = "unknown"  # a newer fleet wrote it; `detail` has its name


# Steps that a machine may report. Only the fleet writes the rest: a job can forge a report.
OF_MACHINES = frozenset(
    {
        StepName.BOOT_FAILED,
        StepName.CALLED_HOME,
        StepName.CREDENTIAL_READ,
        StepName.EXPOSED,
        StepName.JOB_TAKEN,
        StepName.IMAGE,
        StepName.SERVICES,
        StepName.FIRST_OUTPUT,
        StepName.JOB_FINISHED,
        StepName.USED,
        StepName.RUNNER_EXITED,
        StepName.SPOT_NOTICE,
        StepName.REBALANCE_NOTICE,
        StepName.DRAINED,
        StepName.STOPPED,
        StepName.ENDED,
    }
)


class Outcome(StrEnum):
    """How the only job of a machine ended, or why there was none."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the script's own failure, its timeout included
    SYSTEM_FAILURE = "system_failure"  # the machine's or the runner's failure
    CANCELED = "canceled"
    NO_JOB = "no_job"
    INTERRUPTED = "interrupted"  # we stopped the job: spot notice, expiry, Lambda's wall
    FORBIDDEN = "forbidden"  # GitLab refuses the runner token


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(HasUtcTimes):
    """One thing that happened. A fact that says nothing of it is `None`."""

    at: datetime
    name: StepName
    reason: Reason | None = None
    failure: str | None = None  # GitLab's `failure_reason`, or a newer fleet's reason
    delivery_id: str | None = None  # GitLab's id of the webhook delivery
    runner: str | None = None  # id of the step's runner
    machine: str | None = None  # its id at AWS
    pool: str | None = None
    attempt: int | None = None
    attempts: int | None = None  # as many as the pool allows, where `attempt` failed
    cause: Reason | None = None  # why that attempt failed
    job_id: int | None = None  # a machine's step: the job it is of; else another job
    retry_of: int | None = None  # the job that this one runs again
    retried_as: int | None = None  # the job that runs this one again
    outcome: Outcome | None = None
    count: int | None = None  # of steps that were left out
    usage: Usage | None = None  # what the job used
    detail: str | None = None  # words of GitLab, AWS or a machine

    def item(self) -> dict[str, Any]:
        """As written into a list of the ledger."""
        facts = {name: _plain(getattr(self, name)) for name in _FACTS}
        return {"at": self.at.isoformat(), "step": self.name.value, **_present(facts)}

    @classmethod
    def of_item(cls, item: Mapping[str, Any]) -> "Step":
        """The step that a fleet wrote. Words that only a newer one knows are kept for people."""
        facts = {name: item[name] for name in _FACTS if name in item}
        name = item["step"]
        if name not in _NAMES:
            name, facts["detail"] = StepName.UNKNOWN, name
        if facts.get("reason") not in _WORDS[Reason]:
            facts["failure"] = facts.pop("reason", None) or facts.get("failure")
        for fact, kind in (("reason", Reason), ("cause", Reason), ("outcome", Outcome)):
            facts[fact] = kind(facts[fact]) if facts.get(fact) in _WORDS[kind] else None
        if "usage" in facts:
            facts["usage"] = _usage(facts["usage"])
        return cls(at=datetime.fromisoformat(item["at"]), name=StepName(name), **facts)

    @classmethod
    def of_report(cls, item: Mapping[str, Any]) -> "Step":
        """A step that a machine wrote. Raises `KeyError`, `TypeError` or `ValueError` otherwise."""
        name = StepName(item["step"])
        if name not in OF_MACHINES:
            raise ValueError(f"no machine says {name}")
        return cls(
            at=in_utc(datetime.fromisoformat(item["at"])),
            name=name,
            job_id=whole_number(item.get("job_id")),
            outcome=Outcome(item["outcome"]) if item.get("outcome") else None,
            detail=bounded_text(item.get("detail")),
            usage=_usage(item["usage"]) if "usage" in item else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Undated:
    """A machine's step without its time: the reporter has the clock."""

    name: StepName
    job_id: int | None = None
    outcome: Outcome | None = None
    detail: str | None = None
    usage: Usage | None = None

    def dated(self, at: datetime) -> Step:
        """The step, at its time."""
        return Step(
            at=at,
            name=self.name,
            job_id=self.job_id,
            outcome=self.outcome,
            detail=self.detail,
            usage=self.usage,
        )


def with_room(items: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The steps of a row as written, at most `MOST`: of more, middle ones make room for a marker.

    A marker that is there already is counted into the new one.
    """
    if len(items) <= MOST:
        return items
    first, middle, last = items[:FIRST], items[FIRST:-LAST], items[-LAST:]
    count = sum(item.get("count") or 1 for item in middle)
    marker = {"at": middle[-1]["at"], "step": StepName.LEFT_OUT.value, "count": count}
    return [*first, marker, *last]


def bounded_text(words: object) -> str | None:
    """A machine's words on one line, cut to `LONGEST`; None where it wrote no text.

    What a terminal or a log would obey becomes a space.
    """
    if not isinstance(words, str):
        return None
    cut = words[:LONGEST]
    return "".join(letter if letter.isprintable() else " " for letter in cut)


def whole_number(number: Any) -> int | None:
    """A machine's whole number; None where it wrote none. Raises `ValueError` for another one.

    A number of DynamoDB may have 126 digits, and a text may have any number of them.
    """
    if number is None:
        return None
    if isinstance(number, str | bool) or not 0 <= number < NUMBER_BELOW:
        raise ValueError("no number of ours")
    return int(number)


_FACTS = tuple(name for name in Step.__dataclass_fields__ if name not in {"at", "name"})
_NAMES = frozenset(StepName)
_OF_USAGE = ("memory_peak", "received", "sent", "disk_left")  # bytes
_WORDS: dict[type[StrEnum], frozenset[StrEnum]] = {
    kind: frozenset(kind) for kind in (Reason, Outcome)
}


def _usage(item: object) -> Usage:
    """The usage that a machine wrote: whole numbers, the time of its processors in ms."""
    if not isinstance(item, Mapping):
        raise TypeError("no usage")
    numbers = {name: whole_number(item.get(name)) for name in _OF_USAGE}
    cpu_ms = whole_number(item.get("cpu_ms"))
    return Usage(cpu_s=None if cpu_ms is None else cpu_ms / 1000, **numbers)


def _plain(fact: object) -> object:
    if isinstance(fact, Usage):
        cpu_ms = None if fact.cpu_s is None else round(fact.cpu_s * 1000)
        return _present({"cpu_ms": cpu_ms} | {name: getattr(fact, name) for name in _OF_USAGE})
    if isinstance(fact, StrEnum):
        return fact.value
    return fact[:LONGEST] if isinstance(fact, str) else fact


def _present(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: fact for name, fact in facts.items() if fact is not None}
