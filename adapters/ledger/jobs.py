"""The ledger's job rows: status, pool, reasons and history of each job."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from boto3.dynamodb.conditions import Attr

from adapters.ledger.fits import FitRows
from adapters.ledger.open_jobs import (
    LookRows,
    job_pk,
    list_pk,
    look_later,
    pool_pk,
    wait_in_pool,
)
from adapters.ledger.recent import KEY as RECENT, newest, recent_pk
from adapters.ledger.retries import RetryRows
from adapters.ledger.rows import REASON, STEPS, RowType
from adapters.ledger.table import (
    INVALID,
    TRANSACT,
    Change,
    Item,
    Rows,
    Table,
    exists,
    present,
)
from fleet.errors import Refused
from fleet.model import GONE, Job, JobKey, JobStatus
from fleet.steps import MOST, Step, with_room
from fleet.times import HasUtcTimes

# Of a row, after its last change.
KEPT = timedelta(days=30)
AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow(HasUtcTimes):
    """A job with its history: what `status` and `explain` show."""

    job: Job
    changed_at: datetime
    steps: tuple[Step, ...] = ()
    started_at: datetime | None = None
    finished_at: datetime | None = None
    failure_reason: str | None = None
    machine: str | None = None
    capacity: str | None = None  # of its machine, once that has ended
    torn_down_at: datetime | None = None


JOB_ROW = RowType(of=Job, inline=frozenset({"key"}), forms={"reason": REASON})
HISTORY_ROW = RowType(
    of=JobRow,
    names={"steps": "timeline"},
    forms={"steps": STEPS},
    elsewhere=frozenset({"job"}),
)
# What a row has of a job besides its identity: written where it changes.
_CHANGING = frozenset({"status", "outcome", "runner_id", "gitlab_runner_id", "changed_at"}) | {
    *("given_up", "given_up_in", "forgiven", "swallowed", "deploys")
}


_OF_ITS_RUN = (
    *("is_hearsay", "runner_id", "gitlab_runner_id", "machine", "capacity"),
    *("started_at", "finished_at", "failure_reason", "torn_down_at"),
)


class JobRows(Rows):
    """Reads and writes of job rows. Every write may be repeated."""

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self.retries = RetryRows(table)
        self.fits = FitRows(table)
        self.looks = LookRows(table)

    def row(self, key: JobKey) -> JobRow | None:
        """One job with its history; None also where its row cannot be read, which is counted."""
        item = self._table.get(job_pk(key), "job")
        return self._readable_one(_row, item if item and "instance" in item else None)

    def job(self, key: JobKey) -> Job | None:
        """One job."""
        row = self.row(key)
        return row.job if row else None

    def jobs(self, keys: Iterable[JobKey]) -> dict[JobKey, Job]:
        """The jobs that have a row."""
        items = self._table.get_many((job_pk(key), "job") for key in keys)
        jobs = self._readable(JOB_ROW.read, (i for i in items.values() if "instance" in i))
        return {job.key: job for job in jobs}

    def rows(self, keys: Iterable[JobKey]) -> dict[JobKey, JobRow]:
        """The jobs that have a row, each with its history."""
        items = self._table.get_many((job_pk(key), "job") for key in keys)
        rows = self._readable(_row, (i for i in items.values() if "instance" in i))
        return {row.job.key: row for row in rows}

    def waiting_in(self, pool: str) -> tuple[Job, ...]:
        """The jobs that wait in a pool, oldest first."""
        items = self._table.query_index("open", "open_pk", pool_pk(pool))
        return tuple(self._readable(JOB_ROW.read, items))

    def unpooled(self, instance: str) -> list[Job]:
        """The open jobs outside of pools: they run, or no pool may take them."""
        items = self._table.query_index("open", "open_pk", list_pk(instance))
        return self._readable(JOB_ROW.read, (item for item in items if "instance" in item))

    def recent(self, limit: int) -> list[JobRow]:
        """The last changed jobs, newest first, without their steps."""
        return self._readable(_row, newest(self._table, "job", limit))

    def route(
        self,
        job: Job,
        steps: Iterable[Step],
        *,
        at: datetime,
        instead_of: str | None = None,
        despite: Job | None = None,
    ) -> bool:
        """Record the route of a pending job; False when it has one, or is no longer pending.

        `instead_of`: the pool that it leaves. `despite`: its row as it was read, which is wrong.
        """
        change = _routing(job, steps, at, instead_of)
        if despite is not None:
            same = Attr("status").eq(despite.status) & Attr("changed_at").eq(despite.changed_at)
            change = replace(change, when=change.when | same if change.when else same)
        return self._record(change)

    def route_all(
        self, jobs: Sequence[Job], steps: Mapping[JobKey, Sequence[Step]], *, at: datetime
    ) -> tuple[Job, ...]:
        """Record the routes of many pending jobs; the jobs for which `route` is True."""
        done: list[Job] = []
        for start in range(0, len(jobs), TRANSACT):
            batch = jobs[start : start + TRANSACT]
            known: Mapping[JobKey, Job] = {}
            for _ in range(2):  # another invocation may route one of them meanwhile
                done += [
                    job
                    for job in batch
                    if job.key in known and _is_unrouted(known[job.key])
                    if self._record(_routing(job, steps[job.key], at))
                ]
                batch = [job for job in batch if job.key not in known]
                changes = [_with_space(_routing(job, steps[job.key], at)) for job in batch]
                if not changes or self._table.transact_valid(changes):
                    done += batch
                    break
                known = self.jobs(job.key for job in batch)
            else:
                done += [job for job in batch if self._record(_routing(job, steps[job.key], at))]
        return tuple(job for job in jobs if job in done)

    def advance(
        self, job: Job, steps: Iterable[Step], *, at: datetime, facts: Mapping[str, object]
    ) -> bool:
        """Raise a job's status to running or finished; False when it is as far already.

        Makes the row of a job that has none. `facts` are further attributes, such as `started_at`
        or `failure_reason`.
        """
        put: Item = {"status": job.status, "changed_at": at, "outcome": job.outcome}
        put |= {"runner_id": job.runner_id, "gitlab_runner_id": job.gitlab_runner_id}
        runs = job.status is JobStatus.RUNNING
        put |= look_later(job.key, at) if runs else {}
        return self._record(
            Change(
                pk=job_pk(job.key),
                sk="job",
                put=present(put | dict(facts)) | _history(job.key, at),
                once=JOB_ROW.write(job, without=_CHANGING | {"reason", "pool"}),
                append={"timeline": STEPS.write(steps)},
                remove=(
                    *(() if runs else ("open_pk", "open_sk")),
                    *(() if job.is_hearsay else ("is_hearsay",)),
                ),
                when=Attr("status").lt(job.status) | Attr("status").not_exists(),
            )
        )

    def drop_hearsay(self, job: Job) -> None:
        """Forget a job known only from events of its project."""
        same = Attr("is_hearsay").exists() & Attr("project_id").eq(job.project_id)
        self._table.write(Change(pk=job_pk(job.key), sk="job", delete=True, when=same))

    def extend(self, key: JobKey, steps: Iterable[Step], **facts: object) -> None:
        """Add steps and facts to a job's row; a job without a row gets none."""
        timeline = STEPS.write(steps)
        if not timeline and not facts:
            return
        self._record(
            Change(
                pk=job_pk(key),
                sk="job",
                put=present(facts),
                append={"timeline": timeline} if timeline else {},
                when=exists(),
            )
        )

    def note_reasons(self, steps: Mapping[JobKey, Step]) -> None:
        """Record one step for each of many jobs; its reason is then that of the job's row.

        A failed write stops no other.
        """
        full: list[str] = []

        def note(key: JobKey) -> None:
            try:
                self.extend(key, [steps[key]], reason=steps[key].reason)
            except Refused as exc:
                if exc.facts.get("code") != INVALID:
                    raise
                full.append(f"{job_pk(key)} job")

        with ThreadPoolExecutor(max_workers=AT_ONCE) as pacer:
            writes = [pacer.submit(note, key) for key in steps]  # `map` drops the rest at a failure
        for write in writes:
            write.result()
        if full:
            self._leave_out(full, INVALID)

    def demand_again(  # noqa: PLR0913 - two of them are numbers of the one row
        self,
        key: JobKey,
        attempt: int,
        step: Step,
        *,
        given_up: bool,
        swallowed: int = 0,
        applied: str | None = None,
    ) -> bool:
        """Raise the attempt of a job that still waits; False when it is raised already.

        `swallowed`: its new number. `applied`: the `apply` in force, for a job that is given up.
        """
        put: Item = {"attempt": attempt} | ({"swallowed": swallowed} if swallowed else {})
        if given_up:
            put |= present({"given_up": True, "given_up_in": applied})
        return self._record(
            Change(
                pk=job_pk(key),
                sk="job",
                put=put,
                append={"timeline": STEPS.write([step])},
                when=Attr("status").eq(JobStatus.PENDING) & Attr("attempt").lt(attempt),
            )
        )

    def renew(self, job: Job, step: Step) -> bool:
        """Give a job that was given up all attempts again; False when it has them already.

        The numbers of attempts go on, so that a late message never matches a new attempt.
        """
        return self._record(
            Change(
                pk=job_pk(job.key),
                sk="job",
                put={"forgiven": job.attempt - 1, "reason": str(step.reason)},
                append={"timeline": STEPS.write([step])},
                remove=("given_up", "given_up_in", "swallowed"),
                when=Attr("status").eq(JobStatus.PENDING)
                & Attr("attempt").eq(job.attempt)
                & Attr("given_up").exists(),
            )
        )

    def mark_on_demand(self, job: Job, step: Step, *, at: datetime) -> None:
        """Record of a job that is about to be pending that no spot machine may run it."""
        put = {"on_demand": True, "retry_of": True, "changed_at": at, **_history(job.key, at)}
        once = JOB_ROW.write(job, without=_CHANGING | {"on_demand", "reason", "pool"})
        self._record(
            Change(
                pk=job_pk(job.key),
                sk="job",
                put=put,
                once=once | {"status": JobStatus.CREATED},
                append={"timeline": STEPS.write([step])},
            )
        )

    def _record(self, change: Change) -> bool:
        """Carry out one change; of a history that it makes too long, middle steps make room.

        Of two at once one makes room, and a history in between is longer by what the other adds.
        A history that is no list is one that cannot be read, and begins anew.
        """
        try:
            after = self._table.update(change)
        except Refused as exc:
            if exc.facts.get("code") != INVALID or not change.append:
                raise
            after = self._table.update(_anew(change))
            if after is None:  # it is a list, and full
                raise
            self._leave_out([f"{change.pk} {change.sk}"], INVALID)
        steps = (after or {}).get("timeline", [])
        if len(kept := with_room(steps)) < len(steps):
            unchanged = Attr("timeline").size().eq(len(steps))
            put = {"timeline": kept}
            self._table.write(Change(pk=change.pk, sk=change.sk, put=put, when=unchanged))
        return after is not None


def _routing(
    job: Job, steps: Iterable[Step], at: datetime, instead_of: str | None = None
) -> Change:
    """The route of a pending job, unless it is routed."""
    unrouted = Attr("status").lt(JobStatus.PENDING) | Attr("status").not_exists()
    known = Attr("pool").eq(instead_of) if instead_of else Attr("pool").not_exists()
    is_waiting = Attr("status").eq(JobStatus.PENDING) & known
    hidden = Attr("outcome").eq(GONE) | Attr("is_hearsay").exists()
    item = JOB_ROW.write(job, without=_CHANGING) | {"status": job.status, "changed_at": at}
    item |= wait_in_pool(job.pool, job) if job.pool else look_later(job.key, at)
    return Change(
        pk=job_pk(job.key),
        sk="job",
        put=item | _history(job.key, at),
        append={"timeline": STEPS.write(steps)},
        remove=(
            "given_up",
            "given_up_in",
            "forgiven",
            "swallowed",
            "outcome",
            *_OF_ITS_RUN,
            *(() if job.pool else ("pool",)),
        ),
        when=unrouted | is_waiting | hidden,
    )


def _is_unrouted(known: Job) -> bool:
    """Whether a job that has a row may still be routed, as `_routing` does it."""
    is_pending = known.status is JobStatus.PENDING
    is_hidden = known.outcome == GONE or known.is_hearsay
    return known.status < JobStatus.PENDING or (is_pending and not known.pool) or is_hidden


def _with_space(change: Change) -> Change:
    """The change for a history that needs no room made: a transaction shows none afterwards."""
    steps = Attr("timeline")
    most = MOST - sum(map(len, change.append.values()))
    short = steps.not_exists() | steps.size().lte(most)
    return replace(change, when=short & change.when if change.when else short)


def _anew(change: Change) -> Change:
    """The change for rows whose history is no list: its steps are the only ones."""
    steps = Attr("timeline")
    broken = steps.exists() & ~steps.attribute_type("L")
    when = broken & change.when if change.when else broken
    return replace(change, put={**change.put, **change.append}, append={}, when=when)


def _history(key: JobKey, at: datetime) -> Item:
    return {RECENT: recent_pk("job", str(key)), "ttl": int((at + KEPT).timestamp())}


def _row(item: Item) -> JobRow:
    return HISTORY_ROW.read(item, job=JOB_ROW.read(item))
