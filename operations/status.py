"""The fleet at one time, as `status` shows it, from the ledger and the queues."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from adapters.ledger.configuration import StoredConfig
from adapters.ledger.jobs import JobRow
from adapters.ledger.pools import PoolRow
from adapters.ledger.runners import RunnerRows
from fleet.config.model import PoolConfig
from fleet.config.reading import FleetConfig
from fleet.job_event import instance_of
from fleet.model import Job, JobStatus, Runner
from fleet.reasons import Reason
from fleet.rules.budgets import (
    BudgetUse,
    Spending,
    has_budgets,
    pool_use,
    project_use,
    with_living,
)
from fleet.rules.controls import Control, ceiling_of, in_force
from fleet.rules.liveness import by_our_clock, stalled_since
from fleet.rules.problems.decide import decide_problems
from fleet.rules.problems.facts import (
    SILENT_WITHIN,
    FleetFacts,
    HookFacts,
    ImageFacts,
    JobDiscovery,
    PoolFacts,
)
from fleet.rules.problems.runners import state_word
from fleet.rules.schedule import idle_target
from fleet.steps import StepName
from fleet.times import seconds_between
from operations.controls import shown_controls
from operations.fleet_handle import Deployed, read_applied
from operations.fleet_view import (
    BackOffView,
    BudgetView,
    FleetView,
    JobView,
    MachineView,
    PoolView,
    QueueView,
)
from operations.images import kinds_for
from operations.trail import sentence_of, word_of

HEARD_OF = 50  # recent jobs that show whether webhooks arrive
# Where the sentence of a reason is about a job, and not about its pool.
OF_POOLS = {
    Reason.BACKLOG.value: "runners were launched for jobs that waited",
    Reason.COVERED.value: "for every job that waits a runner is booting or idle",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _PoolFacts:
    """One pool with everything read of it."""

    name: str
    config: PoolConfig | None  # None: it is leaving
    row: PoolRow
    runners: tuple[Runner, ...]
    backlog: tuple[Job, ...]


def gather(deployed: Deployed, *, jobs: int) -> FleetView:
    """The fleet now, with the `jobs` that changed last. `Refused` before the first `apply`.

    Problems are those of every open job, however few `jobs` are shown.
    """
    at = deployed.clock()
    stored = deployed.stored()
    config = read_applied(stored)
    instance = instance_of(config.gitlab.url)
    pools = _pools(deployed, config, stored)
    recent = deployed.jobs.recent(max(jobs, HEARD_OF))
    controls = in_force(deployed.fleet.controls(), at)
    living = frozenset(runner.id for pool in pools for runner in pool.runners)
    spending = _spending(deployed, config, pools)
    uses = _uses(config, spending, pools)
    queues = _queues(deployed)
    sick = (hook for hook in deployed.fleet.hooks(instance) if not hook.healthy)
    facts = FleetFacts(
        at=at,
        config=config,
        applied_at=stored.applied_at,
        token_ends_on=deployed.fleet.token_life()[1],
        troubles=deployed.fleet.troubles(),
        hooks=tuple(HookFacts(scope=hook.scope, detail=hook.detail) for hook in sick),
        holds=deployed.fleet.holds(),
        dead={queue.name: queue.dead for queue in queues},
        pools=tuple(_facts(pool, config, stored) for pool in pools),
        unpooled=tuple(deployed.jobs.unpooled(instance)),
        unreadable=deployed.unreadable,
        discoveries=_discoveries(
            deployed, [row for row in recent if at - row.changed_at <= SILENT_WITHIN]
        ),
        swept=deployed.fleet.last_sweep(),
        budgets=uses,
        images=_images(deployed, config),
    )
    return FleetView(
        at=at,
        stack=deployed.stack,
        gitlab=config.gitlab.url,
        version=config.version,
        problems=decide_problems(facts),
        pools=tuple(_pool_view(pool, at, controls) for pool in pools if _is_shown(pool)),
        queues=queues,
        machines=tuple(
            _machine_view(runner, pool, at) for pool in pools for runner in pool.runners
        ),
        jobs=tuple(job_view(row, at) for row in recent[:jobs]),
        controls=shown_controls(controls, living),
        budgets=tuple(
            BudgetView(
                name=use.name,
                is_project=use.is_project,
                usd_per_day=float(use.usd_per_day),
                used_usd=float(use.used_usd),
                is_used_up=use.is_used_up,
            )
            for use in uses
        ),
    )


def _images(deployed: Deployed, config: FleetConfig) -> tuple[ImageFacts, ...]:
    needed = {kind.name for kind in kinds_for(config)}
    return tuple(image for image in deployed.images() if image.kind in needed)


def _discoveries(deployed: Deployed, recent: Iterable[JobRow]) -> tuple[JobDiscovery, ...]:
    """How the fleet learned of jobs. The index has no steps: each is read from its own row."""
    rows = deployed.jobs.rows([row.job.key for row in recent])
    histories = [{step.name for step in row.steps} for row in rows.values()]
    return tuple(
        JobDiscovery(
            by_webhook=StepName.WEBHOOK_RECEIVED in names,
            is_listed=StepName.RECONCILE_FOUND in names,
        )
        for names in histories
    )


def _spending(deployed: Deployed, config: FleetConfig, pools: Iterable[_PoolFacts]) -> Spending:
    """Today's, where there are budgets."""
    if not has_budgets(config):
        return Spending()
    at = deployed.clock()
    living = [runner for pool in pools for runner in pool.runners]
    return with_living(deployed.fleet.spent(at.date()), living, config, at)


def _uses(
    config: FleetConfig, spending: Spending, pools: Iterable[_PoolFacts]
) -> tuple[BudgetUse, ...]:
    """Each budget once: of every pool, and of the projects whose jobs wait."""
    of_pools = (pool_use(config, spending, pool.name) for pool in config.pools)
    waiting = (job for pool in pools for job in pool.backlog)
    of_jobs = (project_use(config, spending, job) for job in waiting)
    of_projects = {use.name: use for use in of_jobs if use is not None}
    return (*(use for use in of_pools if use is not None), *of_projects.values())


def job_view(row: JobRow, at: datetime) -> JobView:
    """One job as a line of the table."""
    job = row.job
    started = row.started_at
    ended = row.finished_at or (row.changed_at if job.status is JobStatus.FINISHED else None)
    reason = job.reason if job.status is JobStatus.PENDING else None
    return JobView(
        job_id=job.job_id,
        name=job.name,
        project=job.project_path or str(job.project_id),
        tags=job.tags,
        pool=job.pool,
        status=word_of(row),
        waited_s=seconds_between(job.pending_at, started or ended or at),
        ran_s=seconds_between(started, ended or at),
        runner_id=job.runner_id,
        reason=reason.value if reason else row.failure_reason,
        sentence=sentence_of(reason or row.failure_reason),
    )


def _pools(deployed: Deployed, config: FleetConfig, stored: StoredConfig) -> tuple[_PoolFacts, ...]:
    runners = RunnerRows(deployed.table, deployed.mailboxes, instance_of(config.gitlab.url))
    names = [*(pool.name for pool in config.pools), *_removed_pools(stored)]
    return tuple(
        _PoolFacts(
            name=name,
            config=config.pool(name),
            row=deployed.fleet.shown_pool(name),
            runners=tuple(by_our_clock(runner, deployed.clock()) for runner in runners.live(name)),
            backlog=deployed.jobs.waiting_in(name),
        )
        for name in names
    )


def _removed_pools(stored: StoredConfig) -> tuple[str, ...]:
    """Removed pools in which runners may live or jobs wait."""
    return tuple(dict.fromkeys([*stored.leaving, *stored.removed]))


def _facts(pool: _PoolFacts, config: FleetConfig, stored: StoredConfig) -> PoolFacts:
    row = pool.row
    return PoolFacts(
        name=pool.name,
        config=pool.config,
        refused=row.refused if row.refused_version == config.version else None,
        warm=row.warm,
        verified_at=row.verified_at,
        token_expires_at=pool.row.token_expires_at,
        renewal_failed_at=pool.row.renewal_failed_at,
        renewal_failed=pool.row.renewal_failed or "",
        removed_at=stored.removed.get(pool.name),
        runners=pool.runners,
        backlog=pool.backlog,
        full_since=row.full_since,
    )


def _is_shown(pool: _PoolFacts) -> bool:
    """Whether it has anything to show: a removed pool without runners and jobs has not."""
    return pool.config is not None or bool(pool.runners or pool.backlog)


def _pool_view(pool: _PoolFacts, at: datetime, controls: Iterable[Control]) -> PoolView:
    config = pool.config
    oldest = min((job.pending_at for job in pool.backlog), default=None)
    return PoolView(
        name=pool.name,
        backend=config.backend if config else "",
        ceiling=ceiling_of(controls, pool.name, config.ceiling) if config else 0,
        in_use=pool.row.in_use,
        states=dict(Counter(state_word(runner) for runner in pool.runners)),
        warm=idle_target(config.idle, at) if config else 0,
        backlog=len(pool.backlog),
        oldest_wait_s=seconds_between(oldest, at),
        reason=pool.row.reason,
        sentence=_why(pool),
        back_off=tuple(
            BackOffView(capacity=name, code=wait.code, for_s=(wait.until - at).total_seconds())
            for name, wait in sorted(pool.row.back_off.items())
            if wait.until > at
        ),
        is_leaving=config is None,
    )


def _why(pool: _PoolFacts) -> str:
    """The reason of its last decision in words; none where it is about jobs that no longer wait."""
    reason = pool.row.reason or ""
    if reason in OF_POOLS:
        return OF_POOLS[reason] if pool.backlog else ""
    return sentence_of(reason)


def _queues(deployed: Deployed) -> tuple[QueueView, ...]:
    jobs = [
        QueueView(name=name, messages=queue.depth(), dead=queue.dead())
        for name, queue in deployed.queues.items()
    ]
    dead_letters = [
        QueueView(name=name, messages=0, dead=queue.depth())
        for name, queue in deployed.dead_letters.items()
    ]
    return (*jobs, *dead_letters)


def _machine_view(runner: Runner, pool: _PoolFacts, at: datetime) -> MachineView:
    after = pool.config.stalled_after if pool.config else None
    return MachineView(
        runner_id=runner.id,
        machine_id=runner.machine_id,
        pool=runner.pool,
        state=state_word(runner),
        since=runner.since,
        for_s=max(0.0, (at - runner.since).total_seconds()),  # clocks differ
        job_id=runner.job.job_id if runner.job else None,
        capacity=runner.capacity,
        heard_s=seconds_between(runner.heartbeat_at, at),
        is_stalled=after is not None and stalled_since(runner, after, at) is not None,
    )
