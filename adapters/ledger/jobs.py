"""The ledger's job rows: how far each job is, where it went and why, step by step."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
from adapters.ledger.retries import RetryRows
from adapters.ledger.table import TRANSACT, Change, Item, Table, exists
from fleet.model import GONE, Job, JobKey, JobStatus
from fleet.reasons import Reason
from fleet.steps import Step
from fleet.times import HasUtcTimes

# How long the history of a job is kept after its last change.
KEPT = timedelta(days=30)
AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow(HasUtcTimes):
    """A job with its history: what `status` and `explain` show."""

    job: Job
    steps: tuple[Step, ...]
    changed_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    failure_reason: str | None = None
    machine: str | None = None
    torn_down_at: datetime | None = None


class JobRows:
    """Reads and writes of job rows. Every write may be repeated."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.retries = RetryRows(table)
        self.fits = FitRows(table)
        self.looks = LookRows(table)

    def row(self, key: JobKey) -> JobRow | None:
        """One job with its history."""
        item = self._table.get(job_pk(key), "job")
        return _row(item) if item and "instance" in item else None

    def job(self, key: JobKey) -> Job | None:
        """One job."""
        row = self.row(key)
        return row.job if row else None

    def jobs(self, keys: Iterable[JobKey]) -> dict[JobKey, Job]:
        """The jobs that have a row."""
        found = self._table.get_many((job_pk(key), "job") for key in keys)
        rows = (_row(item) for item in found.values() if "instance" in item)
        return {row.job.key: row.job for row in rows}

    def waiting_in(self, pool: str) -> tuple[Job, ...]:
        """The jobs routed to a pool that nobody took, oldest first."""
        items = self._table.query_index("open", "open_pk", pool_pk(pool))
        return tuple(_job(item) for item in items)

    def unpooled(self, instance: str) -> Iterator[Job]:
        """The open jobs that wait in no pool: those that run, and those that no pool may take."""
        for item in self._table.query_index("open", "open_pk", list_pk(instance)):
            if "instance" in item:
                yield _job(item)

    def recent(self, limit: int) -> list[JobRow]:
        """The jobs that changed last, newest first."""
        items = self._table.query_index("recent", "kind", "job", newest_first=True, limit=limit)
        return [_row(item) for item in items]

    def route(
        self, job: Job, steps: Iterable[Step], *, at: datetime, instead_of: str | None = None
    ) -> bool:
        """Record where a pending job goes; False when it was routed or is further already.

        `instead_of`: it was routed to this pool, which it leaves.
        """
        return self._table.write(_routing(job, steps, at, instead_of))

    def route_all(
        self, jobs: Sequence[Job], steps: Mapping[JobKey, Sequence[Step]], *, at: datetime
    ) -> tuple[Job, ...]:
        """Record where many pending jobs go; those that were not routed or further already."""
        done: list[Job] = []
        for start in range(0, len(jobs), TRANSACT):
            batch = jobs[start : start + TRANSACT]
            known: Collection[JobKey] = ()
            for _ in range(2):  # somebody else may have routed one of them meanwhile
                batch = [job for job in batch if job.key not in known]
                changes = [_routing(job, steps[job.key], at) for job in batch]
                if not changes or self._table.transact(changes):
                    done += batch
                    break
                known = self.jobs(job.key for job in batch)
            else:
                pairs = zip(batch, changes, strict=True)
                done += [job for job, change in pairs if self._table.write(change)]
        return tuple(done)

    def advance(
        self, job: Job, steps: Iterable[Step], *, at: datetime, facts: Mapping[str, object]
    ) -> bool:
        """Raise a job's status to running or finished; False when it was as far already.

        The row is made when no webhook told of the job before. `facts` are further attributes,
        such as `started_at` or `failure_reason`.
        """
        told = {"status": int(job.status), "changed_at": at.isoformat(), "outcome": job.outcome}
        told |= {"runner_id": job.runner_id, "gitlab_runner_id": job.gitlab_runner_id}
        runs = job.status is JobStatus.RUNNING
        told |= look_later(job.key, at) if runs else {}
        known = _facts(job)
        for name in (*told, "reason", "pool"):
            known.pop(name, None)
        return self._table.write(
            Change(
                pk=job_pk(job.key),
                sk="job",
                put=_present(told | dict(facts)) | _history(at),
                once=known,
                append={"timeline": [step.item() for step in steps]},
                remove=() if runs else ("open_pk", "open_sk"),
                when=Attr("status").lt(job.status) | Attr("status").not_exists(),
            )
        )

    def tell(self, key: JobKey, steps: Iterable[Step], **facts: object) -> None:
        """Add steps to a job's history; an unknown job is left alone."""
        told = [step.item() for step in steps]
        if not told and not facts:
            return
        self._table.write(
            Change(
                pk=job_pk(key),
                sk="job",
                put=_present(facts),
                append={"timeline": told} if told else {},
                when=exists(),
            )
        )

    def launched(self, jobs: Mapping[JobKey, Step]) -> None:
        """Record for many jobs that a runner was launched for them."""
        self._each(jobs)

    def hold(self, reasons: Mapping[JobKey, Step]) -> None:
        """Record why each of many jobs waits; call it with those whose reason changed only."""
        self._each(reasons)

    def demand_again(
        self,
        key: JobKey,
        attempt: int,
        step: Step,
        *,
        given_up: bool,
        applied: str | None = None,
    ) -> bool:
        """Raise the attempt of a job that still waits; False when somebody did so already.

        `applied`: the `apply` in force, for a job that is given up.
        """
        put = {"attempt": attempt}
        if given_up:
            put |= _present({"given_up": True, "given_up_in": applied})
        return self._table.write(
            Change(
                pk=job_pk(key),
                sk="job",
                put=put,
                append={"timeline": [step.item()]},
                when=Attr("status").eq(JobStatus.PENDING) & Attr("attempt").lt(attempt),
            )
        )

    def renew(self, job: Job, step: Step) -> bool:
        """Give a job that was given up all attempts again; False when somebody did so already.

        Their numbers go on, so that nothing late can be taken for one of the new ones.
        """
        return self._table.write(
            Change(
                pk=job_pk(job.key),
                sk="job",
                put={"forgiven": job.attempt - 1, "reason": str(step.reason)},
                append={"timeline": [step.item()]},
                remove=("given_up", "given_up_in"),
                when=Attr("status").eq(JobStatus.PENDING)
                & Attr("attempt").eq(job.attempt)
                & Attr("given_up").exists(),
            )
        )

    def mark_on_demand(self, job: Job, step: Step, *, at: datetime) -> None:
        """Say of a job that is about to be pending that no spot machine shall run it."""
        facts = {"on_demand": True, "retry_of": True, "changed_at": at.isoformat(), **_history(at)}
        known = {k: v for k, v in _facts(job).items() if k not in {"on_demand", "reason", "pool"}}
        self._table.write(
            Change(
                pk=job_pk(job.key),
                sk="job",
                put=facts,
                once=known | {"status": int(JobStatus.CREATED)},
                append={"timeline": [step.item()]},
            )
        )

    def _each(self, told: Mapping[JobKey, Step]) -> None:
        """One write each, many at a time: none of them may keep the others from being told."""

        def tell(key: JobKey) -> None:
            self.tell(key, [told[key]], reason=told[key].reason)

        with ThreadPoolExecutor(max_workers=AT_ONCE) as pacer:
            done = [pacer.submit(tell, key) for key in told]  # `map` drops the rest at a failure
        for one in done:
            one.result()


def _routing(
    job: Job, steps: Iterable[Step], at: datetime, instead_of: str | None = None
) -> Change:
    """Put a pending job where it goes, unless that is done."""
    unrouted = Attr("status").lt(JobStatus.PENDING) | Attr("status").not_exists()
    known = Attr("pool").eq(instead_of) if instead_of else Attr("pool").not_exists()
    held = Attr("status").eq(JobStatus.PENDING) & known
    hidden = Attr("outcome").eq(GONE)
    item = _facts(job) | {"status": int(job.status), "changed_at": at.isoformat()}
    item |= wait_in_pool(job.pool, job) if job.pool else look_later(job.key, at)
    return Change(
        pk=job_pk(job.key),
        sk="job",
        put=item | _history(at),
        append={"timeline": [step.item() for step in steps]},
        remove=(
            "given_up",
            "given_up_in",
            "forgiven",
            "outcome",
            *(() if job.pool else ("pool",)),
        ),
        when=unrouted | held | hidden,
    )


def _history(at: datetime) -> Item:
    return {"kind": "job", "ttl": int((at + KEPT).timestamp())}


def _present(facts: Mapping[str, object]) -> Item:
    return {name: value for name, value in facts.items() if value is not None}


def _facts(job: Job) -> Item:
    """The attributes of a job that do not change with its status."""
    return _present(
        {
            "instance": job.key.instance,
            "job_id": job.key.job_id,
            "project_id": job.project_id,
            "project_path": job.project_path,
            "name": job.name,
            "tags": list(job.tags),
            "pending_at": job.pending_at.isoformat(),
            "pipeline_id": job.pipeline_id,
            "pool": job.pool,
            "reason": str(job.reason) if job.reason else None,
            "attempt": job.attempt,
            "on_demand": job.on_demand or None,
        }
    )


def _row(item: Item) -> JobRow:
    known = ("started_at", "finished_at", "torn_down_at")
    times = {name: datetime.fromisoformat(item[name]) for name in known if item.get(name)}
    return JobRow(
        job=_job(item),
        steps=tuple(Step.of_item(step) for step in item.get("timeline", [])),
        changed_at=datetime.fromisoformat(item["changed_at"]),
        failure_reason=item.get("failure_reason"),
        machine=item.get("machine"),
        **times,
    )


def _job(item: Item) -> Job:
    return Job(
        key=JobKey(instance=item["instance"], job_id=item["job_id"]),
        project_id=item["project_id"],
        project_path=item.get("project_path", ""),
        name=item.get("name", ""),
        tags=tuple(item.get("tags", ())),
        status=JobStatus(item["status"]),
        outcome=item.get("outcome"),
        pending_at=datetime.fromisoformat(item["pending_at"]),
        pool=item.get("pool"),
        reason=Reason(item["reason"]) if item.get("reason") in set(Reason) else None,
        attempt=item.get("attempt", 1),
        runner_id=item.get("runner_id"),
        gitlab_runner_id=item.get("gitlab_runner_id"),
        on_demand=bool(item.get("on_demand")),
        given_up=bool(item.get("given_up")),
        given_up_in=item.get("given_up_in"),
        forgiven=item.get("forgiven", 0),
        pipeline_id=item.get("pipeline_id"),
        deploys=bool(item.get("deploys")),
        changed_at=datetime.fromisoformat(item["changed_at"]),
    )
