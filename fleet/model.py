"""The nouns: job, runner, snapshot, plan. Facts only: no clients, no clock."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum

from fleet.holds import Hold
from fleet.reasons import Reason
from fleet.times import HasUtcTimes


class JobStatus(IntEnum):
    """The progress of a job. A lower status never overwrites a higher one."""

    CREATED = 0
    PENDING = 1
    RUNNING = 2
    FINISHED = 3


_RANKS = {
    JobStatus.CREATED: (
        "created preparing manual scheduled waiting_for_resource waiting_for_callback"
    ),
    JobStatus.PENDING: "pending",
    JobStatus.RUNNING: "running canceling",
    JobStatus.FINISHED: "success failed canceled skipped",
}
_STATUSES = {word: status for status, words in _RANKS.items() for word in words.split()}


def rank(word: str) -> JobStatus:
    """The rank of GitLab's status word; an unknown word ranks lowest."""
    return _STATUSES.get(word, JobStatus.CREATED)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class JobKey:
    """One job of one GitLab. A retried job has a new id, so it is a new key."""

    instance: str
    job_id: int

    def __str__(self) -> str:
        return f"{self.instance}#{self.job_id}"

    @classmethod
    def parse(cls, text: str) -> "JobKey":
        """The key that `str` wrote."""
        instance, _, job_id = text.rpartition("#")
        return cls(instance=instance, job_id=int(job_id))


# The outcome of a job that GitLab no longer shows: deleted, or hidden from the fleet for a time.
GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(HasUtcTimes):
    """One job as the ledger knows it."""

    key: JobKey
    project_id: int
    project_path: str
    name: str
    tags: tuple[str, ...]
    status: JobStatus
    outcome: str | None  # GitLab's word for how it ended: success, failed, canceled, skipped; GONE
    pending_at: datetime  # since when it waits
    pool: str | None = None
    reason: Reason | None = None  # why it waits, or why it went where it went
    attempt: int = 1  # launches made for it, this one included
    runner_id: str | None = None  # ours, of the runner that took it
    gitlab_runner_id: int | None = None
    on_demand: bool = False  # a retry after the loss of a machine: no spot for it
    given_up: bool = False  # attempts used: nothing more is launched for it
    given_up_in: str | None = None  # which `apply` was in force then; a later one renews them
    forgiven: int = 0  # of its attempts, those before they were renewed
    swallowed: int = 0  # of its attempts, those whose invocation read no credential, at no cost
    pipeline_id: int | None = None
    deploys: bool = False  # by a webhook, it starts or stops an environment of GitLab's
    is_hearsay: bool = False  # known from events alone: GitLab's API was not asked
    # When its row was last routed or updated from GitLab; None: not read from a row.
    changed_at: datetime | None = field(default=None, compare=False)

    @property
    def job_id(self) -> int:
        """GitLab's id."""
        return self.key.job_id

    @property
    def attempts_used(self) -> int:
        """How many of the pool's attempts are used, the present one included."""
        return self.attempt - self.forgiven - self.swallowed

    @property
    def wants_runner(self) -> bool:
        """Whether it waits in a pool and, by its row, no runner covers it."""
        is_waiting = self.status is JobStatus.PENDING and self.pool is not None
        return is_waiting and not self.given_up and self.reason is not Reason.COVERED


class RunnerState(StrEnum):
    """The state of a live runner. `COVERING` has the states that cover a waiting job."""

    REQUESTED = "requested"  # intent recorded, the cloud has not answered
    IN_FLIGHT = "in_flight"  # launched, no heartbeat yet
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"
    DONE = "done"  # said goodbye, not yet closed


@dataclass(frozen=True, slots=True, kw_only=True)
class Note(HasUtcTimes):
    """The fleet's record of first reading a machine's report, by the fleet's clock."""

    mark: str  # of the report
    at: datetime  # when it was first read
    state: RunnerState
    since: datetime  # the machine is noted in this state since then


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign(HasUtcTimes):
    """A machine's last report as a sign of life, and the last note of one.

    A machine dates its report by its own clock, which may be wrong.
    """

    mark: str  # differs from that of every other report of this machine
    dated: datetime  # by the machine's clock
    changed: datetime | None = None  # by the machine's clock: since when it is in a new state
    began: datetime | None = None  # by the machine's clock: its first step
    note: Note | None = None  # the last; of this report or of one before it

    @property
    def is_noted(self) -> bool:
        """Whether the note is of this very report: no newer report followed."""
        return self.note is not None and self.note.mark == self.mark


COVERING = frozenset({RunnerState.REQUESTED, RunnerState.IN_FLIGHT, RunnerState.IDLE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner(HasUtcTimes):
    """One live runner: its row in the ledger joined with what its machine last reported."""

    id: str
    pool: str
    backend: str
    state: RunnerState
    launched_at: datetime
    expires_at: datetime
    launch_id: str
    project_id: int | None = None  # it serves this project only; None: every job of the pool
    for_job: JobKey | None = None  # the job it was launched for; None: kept warm
    works_for: int | None = None  # project of the job it runs or was launched for
    job: JobKey | None = None  # the job it took, by GitLab's word
    claim: JobKey | None = None  # the job that its machine says it has: a hint, and no more
    claimed_at: datetime | None = None  # when scaling first waited for GitLab's word about a claim
    awaits_word: bool = False  # it claims a job that GitLab may give it any moment
    machine_id: str | None = None
    mailbox: str | None = None
    gitlab_runner_id: int | None = None
    pool_record_id: int | None = None  # of the pool's record in GitLab, where machines share it
    serves: str | None = None  # the jobs that its own record takes: see `fleet.rules.outdated`
    heartbeat_at: datetime | None = None
    changed_at: datetime | None = None  # since when it is in this state
    capacity: str | None = None  # "m7i.large/subnet-1/spot"
    usd_per_hour: float | None = None  # of a spot machine, as AWS said at its launch
    equipped: bool = False  # its credential is in its mailbox
    left_bare: bool = False  # its launch could not equip it
    machine_lost: bool = False  # by its cloud, which cannot be asked again
    asks: bool = False  # by its report, it asks GitLab for a job
    is_called_off: bool = False  # drained, or taken back by AWS, before it was done
    sign: Sign | None = None  # what `fleet.rules.liveness.by_our_clock` dates it with

    @property
    def since(self) -> datetime:
        """Since when it is in its state; since its launch where that is not known."""
        return self.changed_at or self.launched_at

    @property
    def covers(self) -> bool:
        """Whether it covers a job that still waits."""
        return self.state in COVERING or self.awaits_word

    @property
    def owes_a_job(self) -> bool:
        """Whether its end leaves the job that it was launched for without a runner.

        Not where it was called off: it was replaced at once, or its job no longer waited.
        """
        if self.is_called_off or self.for_job is None or self.job not in {None, self.for_job}:
            return False
        return self.covers or self.state is RunnerState.BUSY or self.went_unserved

    @property
    def went_unserved(self) -> bool:
        """Whether it said goodbye without its job, which may still wait.

        A runner left without a credential, by GitLab's outage or the fleet's pace, never asked.
        """
        could_ask = self.equipped or not self.left_bare
        return (
            self.state is RunnerState.DONE
            and self.job is None
            and self.for_job is not None
            and could_ask
            and not self.is_called_off
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a pool's configuration, at one time."""

    ceiling: int
    idle_target: int  # runners to keep warm now
    idle_time_s: float  # a runner beyond need is kept this long
    launch_at_most: int  # in one go
    attempts: int  # launches for one job
    boot_deadline_s: float
    stalled_after_s: float
    serves: str | None = None  # which jobs the pool's records take now; None: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot(HasUtcTimes):
    """One pool as observed at `at`."""

    at: datetime
    pool: str
    backlog: tuple[Job, ...]  # pending, routed here, without a runner; oldest first
    runners: tuple[Runner, ...]  # alive
    messages: int = 0  # on the demand queue of the pool's back end, in flight included
    dry_until: datetime | None = None  # no capacity pool may be asked before
    refused: str | None = None  # AWS refuses the configuration, in its words
    holds: tuple[Hold, ...] = ()  # active ones, and those lifted lately
    why_no_launch: Reason | None = None  # paused by a person, or the pool's budget is used up
    over_budget: frozenset[int] = frozenset()  # projects whose budget is used up
    why_no_warm: Reason | None = None  # why nothing may be launched to be kept warm
    warm_at_most: int | None = None  # unproven ones, after a warm machine failed

    @property
    def size(self) -> int:
        """The runners that cost money or were requested."""
        return len(self.runners)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalePlan:
    """The launches and drains of one pool, and why."""

    reason: Reason
    launch: tuple[Job, ...] = ()  # one runner for each, in fair order
    warm: int = 0  # runners to launch for no particular job
    drain: tuple[str, ...] = ()  # runner ids
    outdated: tuple[str, ...] = ()  # runners to drain: GitLab gives them other jobs than the pool's
    waiting: Mapping[JobKey, Reason] = field(default_factory=dict)  # why each other job waits
    again: bool = False  # more can be done at once, without waiting for the tick
    ask_in_s: int | None = None  # when to ask GitLab again for the held launches

    @property
    def launches(self) -> int:
        """How many runners to launch."""
        return len(self.launch) + self.warm
