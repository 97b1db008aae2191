"""Reads what `status` shows from the ledger and the queues; changes nothing."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from adapters.fleet_rows import HookRow, PoolRow
from adapters.job_rows import JobRow
from adapters.runner_rows import RunnerRows
from cli.deployed import Deployed
from cli.status_view import (
    BackOffView,
    FleetView,
    JobView,
    MachineView,
    PoolView,
    Problem,
    QueueView,
)
from cli.trail import sentence_of
from cli.verdict import ignored
from fleet.config import FleetConfig, PoolConfig
from fleet.job_event import instance_of
from fleet.mailbox import MachineState
from fleet.model import Job, Runner, RunnerState, Status
from fleet.reasons import Reason
from fleet.schedule import idle_target

# GitLab stops seeing a pool as online after two hours; the fleet shows itself every half hour, a
# new pool within the next minutes.
UNSEEN_AFTER = timedelta(minutes=90)
NEW_FOR = timedelta(minutes=5)
# Where the sentence of a reason is about a job, and not about its pool.
OF_POOLS = {
    Reason.BACKLOG.value: "runners were launched for jobs that waited",
    Reason.COVERED.value: "for every job that waits a runner is booting or idle",
}
DO_REGISTER = "run `runner-fleet webhook register` for it again"
DO_EXPLAIN = "`runner-fleet explain <job>` says what went wrong; then docs/operations.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pool:
    """One pool with everything read of it."""

    name: str
    config: PoolConfig | None  # None: it is leaving
    row: PoolRow
    is_new: bool
    runners: tuple[Runner, ...]
    backlog: tuple[Job, ...]


def gather(deployed: Deployed, *, jobs: int) -> FleetView:
    """The fleet now, with the `jobs` that changed last. `Refused` before the first `apply`."""
    at = deployed.clock()
    config = deployed.config()
    pools = _pools(deployed, config)
    recent = deployed.jobs.recent(jobs)
    queues = _queues(deployed)
    hooks = deployed.fleet.hooks(instance_of(config.gitlab.url))
    problems = (
        *(_hook_problem(hook) for hook in hooks if not hook.healthy),
        *_queue_problems(queues),
        *(problem for pool in pools for problem in _pool_problems(pool, config, at)),
        *(problem for pool in pools for problem in _runner_problems(pool, at)),
        *(problem for pool in pools for problem in _withheld_problems(pool, at)),
        *_job_problems(recent),
    )
    return FleetView(
        at=at,
        stack=deployed.stack,
        gitlab=config.gitlab.url,
        version=config.version,
        problems=problems,
        pools=tuple(_pool_view(pool, at) for pool in pools),
        queues=queues,
        machines=tuple(_machine_view(runner, at) for pool in pools for runner in pool.runners),
        jobs=tuple(job_view(row, at) for row in recent),
    )


def job_view(row: JobRow, at: datetime) -> JobView:
    """One job as a line of the table."""
    job = row.job
    started = row.started_at
    ended = row.finished_at or (row.changed_at if job.status is Status.FINISHED else None)
    word = job.outcome or job.status.name.lower()
    reason = job.reason if job.status is Status.PENDING else None
    return JobView(
        job_id=job.job_id,
        name=job.name,
        project=job.project_path or str(job.project_id),
        tags=job.tags,
        pool=job.pool,
        status=word,
        waited_s=_seconds(job.pending_at, started or ended or at),
        ran_s=_seconds(started, ended or at),
        runner_id=job.runner_id,
        reason=reason.value if reason else row.failure_reason,
        sentence=sentence_of(reason or row.failure_reason),
    )


def _pools(deployed: Deployed, config: FleetConfig) -> tuple[_Pool, ...]:
    runners = RunnerRows(deployed.table, instance_of(config.gitlab.url))
    stored = deployed.fleet.config()
    is_new = stored is not None and deployed.clock() - stored.applied_at < NEW_FOR
    names = [pool.name for pool in config.pools] + list(stored.leaving if stored else ())
    return tuple(
        _Pool(
            name=name,
            config=config.pool(name),
            row=deployed.fleet.pool(name),
            is_new=is_new,
            runners=runners.live(name),
            backlog=deployed.jobs.waiting_in(name),
        )
        for name in names
    )


def _pool_view(pool: _Pool, at: datetime) -> PoolView:
    config = pool.config
    oldest = min((job.pending_at for job in pool.backlog), default=None)
    return PoolView(
        name=pool.name,
        backend=config.backend if config else "",
        ceiling=config.ceiling if config else 0,
        in_use=pool.row.in_use,
        states=dict(Counter(_word(runner) for runner in pool.runners)),
        warm=idle_target(config.idle, at) if config else 0,
        backlog=len(pool.backlog),
        oldest_wait_s=_seconds(oldest, at),
        reason=pool.row.reason,
        sentence=OF_POOLS.get(pool.row.reason or "") or sentence_of(pool.row.reason),
        back_off=tuple(
            BackOffView(place=place, code=held.code, for_s=(held.until - at).total_seconds())
            for place, held in sorted((pool.row.back_off or {}).items())
            if held.until > at
        ),
        is_leaving=config is None,
    )


def _queues(deployed: Deployed) -> tuple[QueueView, ...]:
    jobs = [
        QueueView(name=name, messages=queue.depth(), dead=queue.dead())
        for name, queue in deployed.queues.items()
    ]
    letters = [
        QueueView(name=name, messages=0, dead=queue.depth())
        for name, queue in deployed.letters.items()
    ]
    return (*jobs, *letters)


def _word(runner: Runner) -> str:
    """Its state; one that called home and does not ask GitLab yet has only booted."""
    is_ready = runner.state is not RunnerState.IDLE or runner.asks
    return runner.state.value if is_ready else MachineState.BOOTED.value


def _machine_view(runner: Runner, at: datetime) -> MachineView:
    return MachineView(
        runner_id=runner.id,
        machine_id=runner.machine_id,
        pool=runner.pool,
        state=_word(runner),
        since=runner.since,
        for_s=(at - runner.since).total_seconds(),
        job_id=runner.job.job_id if runner.job else None,
        capacity=runner.capacity,
        heard_s=_seconds(runner.heartbeat_at, at),
    )


def _seconds(since: datetime | None, until: datetime) -> float | None:
    return None if since is None else max(0.0, (until - since).total_seconds())


def _hook_problem(hook: HookRow) -> Problem:
    return Problem(what=f"webhook of {hook.scope}: {hook.detail or 'unhealthy'}", do=DO_REGISTER)


def _queue_problems(queues: Iterable[QueueView]) -> Iterator[Problem]:
    for queue in queues:
        if not queue.dead:
            continue
        if queue.name == "events":
            what, do = "events started no state machine", "see docs/operations.md, EventDeadLetters"
        elif queue.name == "expiries":
            what, do = "expiry timers failed", "see docs/operations.md, ExpiryDeadLetters"
        else:
            what, do = f"jobs got no {queue.name} machine after their last attempt", DO_EXPLAIN
        yield Problem(what=f"{queue.dead} {what}", do=do)


def _pool_problems(pool: _Pool, config: FleetConfig, at: datetime) -> Iterator[Problem]:
    if pool.config is None:
        return
    row = pool.row
    if row.refused and row.refused_version == config.version:
        what = f"pool {pool.name}: AWS refuses its configuration: {row.refused}"
        yield Problem(what=what, do="correct it, then `runner-fleet apply`")
    unseen = row.verified_at is None or at - row.verified_at > UNSEEN_AFTER
    if unseen and not pool.is_new:
        since = f"since {row.verified_at:%F %R} UTC" if row.verified_at else "yet"
        what = f"pool {pool.name}: GitLab has not heard of it {since}"
        do = "`runner-fleet apply` makes its runner record; then look at reconcile's log"
        yield Problem(what=f"{what}; jobs that wait over an hour fail as stuck", do=do)


def _runner_problems(pool: _Pool, at: datetime) -> Iterator[Problem]:
    if pool.config is None:
        return
    for runner in pool.runners:
        booting = runner.state in {RunnerState.REQUESTED, RunnerState.IN_FLIGHT}
        heard = runner.heartbeat_at
        if booting and at - runner.launched_at > pool.config.boot_deadline:
            what = f"{runner.id} did not call home before its boot deadline"
            yield Problem(what=what, do="the sweep replaces it within a minute; see its console")
        elif heard is not None and at - heard > pool.config.stalled_after:
            minutes = (at - heard).total_seconds() / 60
            what = f"{runner.id} is {_word(runner)} and silent for {minutes:.0f} minutes"
            do = "the sweep ends it once GitLab and AWS agree that nothing runs there"
            yield Problem(what=what, do=do)


def _withheld_problems(pool: _Pool, at: datetime) -> Iterator[Problem]:
    """Jobs that GitLab does not give to a runner that is ready for them: one line for all."""
    held = [(job, idle) for job in pool.backlog if (idle := ignored(job, pool.runners, at))]
    if held:
        job, idle = held[0]
        waits = f"and {len(held) - 1} more wait" if held[1:] else "waits"
        what = f"job {job.job_id} ({job.name}) {waits} while {idle.id} is idle"
        yield Problem(what=what, do=f"`runner-fleet explain {job.job_id}` says what to look at")


def _job_problems(rows: Sequence[JobRow]) -> Iterator[Problem]:
    for row in rows:
        job = row.job
        if job.status is not Status.PENDING or (job.pool and not job.given_up):
            continue
        reason = Reason.ATTEMPTS_USED if job.given_up else job.reason
        what = f"job {job.job_id} ({job.name}) gets no runner: {sentence_of(reason)}"
        yield Problem(what=what, do=f"`runner-fleet explain {job.job_id}`")
