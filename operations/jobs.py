"""The jobs of a period, ended and open, newest first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from adapters.ledger.jobs import JobRow
from fleet.gitlab_failures import failure_words
from fleet.job_event import instance_of
from fleet.model import Job, JobStatus
from fleet.past import PastRun
from fleet.reasons import SENTENCES
from fleet.times import seconds_between
from operations.fleet_handle import Deployed, check_pool
from operations.periods import Period

AT_MOST = 100_000  # jobs in one answer


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuery:
    """Which jobs. `project`: an id, or a path or the beginning of one."""

    period: Period
    project: str | None = None
    pool: str | None = None
    failed: bool = False
    limit: int = AT_MOST


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedJob:
    """One job. Its end may be unknown where its machine ended before GitLab said how."""

    job_id: int
    name: str
    project: str  # path, else id
    pool: str | None
    status: str  # GitLab's word
    failure: str | None  # GitLab's `failure_reason`
    at: datetime  # of its end; of an open job: since when it is pending
    waited_s: float | None
    ran_s: float | None
    runner_id: str | None
    capacity: str | None
    usd: float | None  # of its machine
    why: str  # in words: why it waits, or failed


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsView:
    """The jobs, newest first; `left_out`: how many more there are."""

    since: datetime
    until: datetime
    jobs: tuple[ListedJob, ...]
    left_out: int

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        plain = asdict(self) | {"since": self.since.isoformat(), "until": self.until.isoformat()}
        jobs = [job | {"at": job["at"].isoformat()} for job in plain["jobs"]]
        return plain | {"jobs": jobs}


def list_jobs(deployed: Deployed, query: JobQuery) -> JobsView:
    """The jobs that ended in the period, and those that are open now.

    Raises `Refused` for a pool that fleet.toml lacks, unless it had jobs then.
    """
    at = deployed.clock()
    period = query.period
    runs = deployed.history.between(period.since, period.until)
    lines = [line_of_run(run) for run in runs if run.had_job and _matches(run, query)]
    running: dict[int, Job] = {}
    if not query.failed and period.is_open:
        shown = {line.job_id for line in lines}
        open_jobs = [
            job for job in _open(deployed) if job.job_id not in shown and _matches_open(job, query)
        ]
        lines += [_line_of_open(job, at) for job in open_jobs]
        running = {job.job_id: job for job in open_jobs if job.status is JobStatus.RUNNING}
    if query.pool is not None and not lines:
        check_pool(deployed.config(), query.pool)
    lines.sort(key=lambda line: (line.at, line.job_id), reverse=True)
    return JobsView(
        since=period.since,
        until=period.until,
        jobs=_with_starts(deployed, lines[: query.limit], running, at),
        left_out=max(0, len(lines) - query.limit),
    )


def _with_starts(
    deployed: Deployed, lines: Sequence[ListedJob], running: Mapping[int, Job], at: datetime
) -> tuple[ListedJob, ...]:
    """The lines, with the runner of each job that runs, and its times: the index has neither."""
    keys = [running[line.job_id].key for line in lines if line.job_id in running]
    rows = {key.job_id: row for key, row in deployed.jobs.rows(keys).items()} if keys else {}
    return tuple(_with_start(line, rows.get(line.job_id), at) for line in lines)


def _with_start(line: ListedJob, row: JobRow | None, at: datetime) -> ListedJob:
    if row is None or row.started_at is None:
        return line
    waited_s = seconds_between(row.job.pending_at, row.started_at)
    ran_s = seconds_between(row.started_at, at)
    return replace(line, waited_s=waited_s, ran_s=ran_s, runner_id=row.job.runner_id)


def line_of_run(run: PastRun) -> ListedJob:
    """A past run as a line."""
    return ListedJob(
        job_id=run.job_id or 0,
        name=run.name,
        project=run.project or str(run.project_id),
        pool=run.pool,
        status=run.outcome or "ended",
        failure=run.failure,
        at=run.finished_at or run.ended_at,
        waited_s=seconds_between(run.pending_at, run.taken_at or run.finished_at),
        ran_s=run.ran_s,
        runner_id=run.id if run.had_machine else None,
        capacity=run.capacity,
        usd=None if run.usd is None else float(run.usd),
        why=failure_words(run.failure or ""),
    )


def _open(deployed: Deployed) -> Iterable[Job]:
    config = deployed.config()
    yield from deployed.jobs.unpooled(instance_of(config.gitlab.url))
    stored = deployed.stored()
    names = [*(pool.name for pool in config.pools), *stored.leaving, *stored.removed]
    for name in dict.fromkeys(names):
        yield from deployed.jobs.waiting_in(name)


def _line_of_open(job: Job, at: datetime) -> ListedJob:
    waits = job.status is JobStatus.PENDING
    return ListedJob(
        job_id=job.job_id,
        name=job.name,
        project=job.project_path or str(job.project_id),
        pool=job.pool,
        status=job.status.name.lower(),
        failure=None,
        at=job.pending_at,
        waited_s=seconds_between(job.pending_at, at) if waits else None,
        ran_s=None,
        runner_id=job.runner_id,
        capacity=None,
        usd=None,
        why=SENTENCES[job.reason] if waits and job.reason else "",
    )


def _matches(run: PastRun, query: JobQuery) -> bool:
    if query.failed and not run.failed:
        return False
    return _fits(query, run.project_id, run.project, run.pool)


def _matches_open(job: Job, query: JobQuery) -> bool:
    return _fits(query, job.project_id, job.project_path, job.pool)


def _fits(query: JobQuery, project_id: int | None, path: str, pool: str | None) -> bool:
    if query.pool not in (None, pool):
        return False
    if query.project is None or query.project == str(project_id):
        return True
    wanted, own = query.project.strip("/").lower(), path.lower()
    return own == wanted or own.startswith(f"{wanted}/")
