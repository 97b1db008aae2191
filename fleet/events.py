"""The log: one declared event for each thing that happened, one JSON line each.

A class name is the line's `event`, its docstring the event's meaning, its fields carry units.
`INFO` changed the world or decided, `WARNING` degraded but acted, `ERROR` a person must look.
Numbers that `measured` names are metrics of CloudWatch as well: a fleet without jobs sends none.
"""

import json
import logging
import sys
from contextvars import ContextVar
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TextIO

from fleet.metrics import Measure, embedded, measured

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

INFO, WARNING, ERROR = logging.INFO, logging.WARNING, logging.ERROR

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_stack: list[str] = []  # the one of this process, once it is named


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryAccepted:
    """A verified delivery of GitLab is on the bus."""

    instance: str
    project_id: int
    job_id: int
    status: str
    delivery_id: str
    took_s: float  # from the first byte read to the bus's answer


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryIgnored:
    """A verified delivery was of no use to the fleet."""

    reason: str
    about: str  # the event's or the status's name


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRefused:
    """A delivery was refused; it is not verified, so its content is not logged."""

    status: int  # of the HTTP answer
    reason: str


@measured(Measure("DeliveriesOutside", "Count"))
@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryOutside:
    """A webhook delivered for a project that is not in its group; it changed nothing."""

    hook: str  # its scope
    project_id: int
    job_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryNotPublished:
    """The bus did not take a verified delivery. Reconcile finds the job within a minute."""

    instance: str
    project_id: int
    job_id: int
    status: str
    delivery_id: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRouted:
    """A pending job got its pool, or the reason why none fits."""

    job_id: int
    project_id: int
    pool: str | None
    reason: str
    waited_s: float  # from pending in GitLab to here


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleDecided:
    """The plan of one pool has launches or drains."""

    pool: str
    reason: str
    backlog: int  # jobs
    runners: int  # alive, in flight included
    messages: int
    launch: int
    drain: int


@measured(Measure("PoolsFailed", "Count"))
@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFailed:
    """A pool, or the demand queue of all pools of a back end, could not be served in this round."""

    backend: str
    pool: str | None  # None: the queue
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmMachineFailed:
    """A machine that a pool keeps warm failed; the next one is launched later."""

    pool: str
    runner_id: str
    machine_id: str | None
    capacity: str | None
    failures: int  # launches in a row
    why: str


@measured(Measure("WarmLaunchesStopped", "Count"))
@dataclass(frozen=True, slots=True, kw_only=True)
class WarmLaunchesStopped:
    """A pool launches nothing to be kept warm until the next `apply`; said in every round."""

    pool: str
    failures: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinesUnguarded:
    """Machines have no expiry timer outside; their own and the sweep's still end them."""

    launch_id: str
    machines: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinesUnplaced:
    """Machines started whose rows were already closed; they are ended at once."""

    pool: str
    machines: int


@measured(Measure("RunnersLaunched", "Count", "launched"), by=("pool",))
@dataclass(frozen=True, slots=True, kw_only=True)
class RunnersLaunched:
    """The cloud gave machines to runners; they are in flight until their first heartbeat."""

    pool: str
    launch_id: str
    asked: int
    launched: int
    capacity: str  # capacity pool of the first machine


@measured(Measure("RunnersNotLaunched", "Count", "missing"), by=("code",), is_whole=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchShort:
    """The cloud gave fewer machines than asked for; one line for each launch."""

    pool: str
    code: str  # the cloud's own, of what a person can cure first
    kind: str
    missing: int  # machines
    advice: str  # about `code`
    other_codes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerNotEquipped:
    """A machine waits for its credential; the next round tries again."""

    runner_id: str
    pool: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheNotGiven:
    """A runner got no keys of the job cache; its job runs without one."""

    runner_id: str
    pool: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerEndOrdered:
    """A person ordered the end of a runner, and the fleet carries it out."""

    runner_id: str
    pool: str
    who: str
    at_once: bool  # else after its job


@measured(Measure("RunnersEnded", "Count"), by=("reason",))
@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerClosed:
    """Machine, runner record and row of one runner are gone."""

    runner_id: str
    pool: str
    reason: str
    lived_s: float


@measured(Measure("CostUsd", "None", "usd"), by=("pool",), is_whole=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePaid:
    """A machine ended, and what it cost from its launch on.

    By the spot price of the launch where that is known, else by list prices.
    """

    runner_id: str
    pool: str
    usd: float


@measured(
    Measure("Wait", "Seconds", "waited_s"),
    Measure("WaitForWebhook", "Seconds", "webhook_s"),
    Measure("WaitForRoute", "Seconds", "route_s"),
    Measure("WaitForLaunch", "Seconds", "launch_s"),
    Measure("WaitForBoot", "Seconds", "boot_s"),
    Measure("WaitForTake", "Seconds", "take_s"),
    by=("pool",),
    is_whole=True,
)
@dataclass(frozen=True, slots=True, kw_only=True)
class JobServed:
    """A runner of the fleet had a job and ended; the hops of the job's wait, whose sum it is."""

    job_id: int
    pool: str
    outcome: str | None  # GitLab's word, where it is known
    waited_s: float
    webhook_s: float
    route_s: float
    launch_s: float
    boot_s: float
    take_s: float


@measured(
    Measure("InUse", "Count", "in_use"),
    Measure("Ceiling", "Count", "ceiling"),
    Measure("Backlog", "Count", "backlog"),
    by=("pool",),
)
@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMeasured:
    """A pool with runners or waiting jobs, once a minute."""

    pool: str
    in_use: int  # runners
    ceiling: int  # in force: an operator's order may replace the configured one
    backlog: int  # jobs that wait
    oldest_wait_s: float | None


@measured(
    Measure("OldestWait", "Seconds", "oldest_wait_s"),
    Measure("Stuck", "Count", "stuck"),
    Measure("FullPools", "Count", "full_pools"),
    Measure("GitLabTroubles", "Count", "troubles"),
    Measure("GitLabCallsLeft", "Percent", "calls_left_percent"),
)
@dataclass(frozen=True, slots=True, kw_only=True)
class FleetMeasured:
    """A fleet with something to do or to complain of, once a minute."""

    oldest_wait_s: float | None
    stuck: int  # jobs in pools that get no runner until a person acts
    full_pools: int  # pools at their ceiling with jobs that wait
    troubles: int  # kinds of calls that GitLab refuses
    calls_left_percent: float  # of a minute's calls to GitLab, at the end of a pass


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerNotClosed:
    """A runner could not be closed completely; the next sweep tries again."""

    runner_id: str
    pool: str
    reason: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobNotRelaunched:
    """A runner was closed, and the attempt of its job could not be written down."""

    runner_id: str
    pool: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsUnreadable:
    """Rows have an unknown form and were left out; a machine without a report is silent."""

    table: str
    rows: int
    example: str  # the keys of one
    error: str  # its fields that are wrong, or the kind of error: never what stands there


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSkipped:
    """A sweep could not check or end one runner, machine or record; it went on with the others."""

    about: str
    error: str


@measured(Measure("JobsGivenUp", "Count"))
@dataclass(frozen=True, slots=True, kw_only=True)
class JobGivenUp:
    """Every launch for a job failed; its demand is in the dead-letter queue."""

    job_id: int
    pool: str
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRetried:
    """A job that its machine failed runs once more, on demand."""

    job_id: int
    new_job_id: int
    failure_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """Reconcile compared GitLab's pending jobs with the ledger."""

    projects: int  # read
    routed: int  # pending jobs without a webhook
    looked_up: int  # jobs that ended or were taken unseen


@measured(Measure("Leaked", "Count", "leaked"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """The sweep compared runners, machines and runner records."""

    runners: int  # that live on
    closed: int  # by this sweep
    strays: int  # machines and runner records without a row, removed
    leaked: int  # runners, machines and runner records that could not be removed


@dataclass(frozen=True, slots=True, kw_only=True)
class HookUnhealthy:
    """GitLab does not deliver webhooks; its jobs are read every minute meanwhile."""

    scope: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GitLabUnusable:
    """GitLab refuses the fleet's token, or its certificate is not trusted; logged at the start."""

    kind: str  # token, tls, or the call whose scope the token lacks
    call: str
    words: str  # GitLab's, or the library's


@dataclass(frozen=True, slots=True, kw_only=True)
class GitLabUsable:
    """GitLab accepts again the calls that it refused."""

    kind: str
    call: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkPutOff:
    """A part of the work was left out; a later pass does it where that can help.

    A call to GitLab or AWS failed, or a row of the ledger cannot be read.
    """

    doing: str
    error: str


def begin_request(request_id: str | None) -> None:
    """Add the request id to all further lines of this invocation."""
    _request_id.set(request_id)


def name_stack(stack: str) -> None:
    """Have this process's events make metrics, of this stack."""
    _stack[:] = [stack]


def emit(event: "DataclassInstance", *, level: int = INFO) -> None:
    """Write one event as one line of JSON to standard output."""
    _logger().log(level, type(event).__name__, extra={"fleet_event": event})


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        event, at = record.__dict__["fleet_event"], datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "event": record.getMessage(),
            "level": record.levelname,
            "timestamp": at.isoformat(timespec="milliseconds"),
        }
        if request_id := _request_id.get():
            line["request_id"] = request_id
        values = {each.name: getattr(event, each.name) for each in fields(event)}
        metrics = embedded(event, stack=_stack[0], at=at) if _stack else {}
        return json.dumps(line | values | metrics, default=_plain)


class _Stdout(logging.StreamHandler[TextIO]):
    """Writes to the present standard output, not to that of the import."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stdout
        super().emit(record)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)


def _logger() -> logging.Logger:
    logger = logging.getLogger("runner-fleet")
    if not logger.handlers:
        handler = _Stdout()
        handler.setFormatter(_Line())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False  # a Lambda's root logger would write every line twice
    return logger
