"""From a plan to machines: reserve, launch in bulk, place, equip. Every part may be repeated."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from adapters.ledger.pools import PoolRow
from adapters.ledger.runners import Placement
from adapters.machines.backend import Launched, LaunchOrder, LaunchResult, Shortfall
from fleet.config.reading import PoolConfig
from fleet.errors import FleetError
from fleet.events import (
    ERROR,
    WARNING,
    LaunchShort,
    MachinesUnplaced,
    RunnersLaunched,
    emit,
)
from fleet.model import Job, JobKey, Runner, RunnerState, ScalePlan
from fleet.reasons import Reason
from fleet.rules.capacity import (
    CapacityPool,
    ErrorKind,
    advice,
    decide_capacity,
    note_failure,
    note_success,
)
from fleet.rules.holds import Hold, asks_again_in_s
from fleet.steps import Step, StepName
from orchestrator.close import close_runner, end_machine, left_to_sweep
from orchestrator.credentials import Ready, discard, equip, prepare
from orchestrator.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """Runners that one order can launch: same project scope, same market."""

    jobs: tuple[Job | None, ...]  # None: kept warm
    project_id: int | None
    on_demand: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchOutcome:
    """What came of launching."""

    machines: int = 0
    equip_in_s: int | None = None  # when to try again for those without a credential
    held: int = 0  # launches that GitLab gave no credential for
    held_jobs: Mapping[JobKey, Reason] = field(default_factory=dict)

    def __add__(self, other: "LaunchOutcome") -> "LaunchOutcome":
        """What came of both."""
        waits = [one.equip_in_s for one in (self, other) if one.equip_in_s is not None]
        return LaunchOutcome(
            machines=self.machines + other.machines,
            equip_in_s=max(waits, default=None),
            held=self.held + other.held,
            held_jobs={**self.held_jobs, **other.held_jobs},
        )


def launch(
    world: World, pool: PoolConfig, row: PoolRow, plan: ScalePlan, holds: Sequence[Hold] = ()
) -> LaunchOutcome:
    """Carry out the launches of a plan; what came of it."""
    came = LaunchOutcome()
    version = row.version
    places = world.backend(pool).capacity_pools(pool)
    general: Hold | None = None
    for batch in _batches(world, pool, plan):
        try_in = decide_capacity(places, row.back_off or {}, world.clock())
        if places and not try_in:
            break  # the batches before took what there was
        wanted = _requested(world, pool, batch)
        ready = Ready(hold=general) if general else prepare(world, pool, row, wanted, holds)
        came += _held(wanted, ready, world.clock())
        general = ready.hold if ready.hold and ready.hold.project_id is None else None
        if not ready.runners:
            continue
        reserved = world.runners.reserve(ready.runners, ceiling=pool.ceiling, version=version)
        discard(world, ready.runners[len(reserved) :])
        version += -(-len(reserved) // 99)
        if not reserved:
            break  # somebody else launched since we looked: look again before launching
        if batch.on_demand:
            try_in = tuple(one for one in try_in if one.market == "on-demand") or try_in
        now, row = _launch(world, pool, row, replace(ready, runners=reserved), try_in)
        came += now
    return came


def _held(wanted: Iterable[Runner], ready: Ready, at: datetime) -> LaunchOutcome:
    """What comes of launches that GitLab gives no credential for."""
    if ready.hold is None:
        return LaunchOutcome()
    may = {one.id for one in ready.runners}
    held = [one for one in wanted if one.id not in may]
    return LaunchOutcome(
        held=len(held),
        held_jobs={one.for_job: ready.hold.reason for one in held if one.for_job is not None},
        equip_in_s=asks_again_in_s(ready.hold, at),
    )


def _batches(world: World, pool: PoolConfig, plan: ScalePlan) -> list[_Batch]:
    where = world.config.gitlab.runners_in
    per_project = where.kind == "project" and where.id is None
    by_kind: dict[tuple[int | None, bool], list[Job | None]] = {}
    for job in plan.launch:
        scope = job.project_id if per_project else None
        by_kind.setdefault((scope, job.on_demand), []).append(job)
    if plan.warm and not per_project:
        by_kind.setdefault((None, False), []).extend([None] * plan.warm)
    return [
        _Batch(jobs=tuple(jobs), project_id=scope, on_demand=on_demand)
        for (scope, on_demand), jobs in by_kind.items()
    ]


def _requested(world: World, pool: PoolConfig, batch: _Batch) -> list[Runner]:
    """The intent to launch these runners, as it is written before the cloud is asked."""
    at, launch_id = world.clock(), world.new_id()
    return [
        Runner(
            id=f"rf-{pool.name}-{world.new_id()}",
            pool=pool.name,
            backend=pool.backend,
            state=RunnerState.REQUESTED,
            launched_at=at,
            expires_at=at + pool.max_lifetime,
            launch_id=launch_id,
            project_id=batch.project_id,
            for_job=job.key if job else None,
            works_for=job.project_id if job else None,
        )
        for job in batch.jobs
    ]


def _launch(
    world: World,
    pool: PoolConfig,
    row: PoolRow,
    ready: Ready,
    try_in: tuple[CapacityPool, ...],
) -> tuple[LaunchOutcome, PoolRow]:
    """One order for all of these runners; those without a machine are closed again.

    What came, and the pool's row with what was learned of its places.
    """
    at, runners = world.clock(), ready.runners
    order = LaunchOrder(
        launch_id=runners[0].launch_id,
        runner_ids=tuple(runner.id for runner in runners),
        call_home_by=runners[0].launched_at + pool.boot_deadline,
        expires_at=runners[0].expires_at,
        try_in=try_in,
    )
    result = world.backend(pool).launch(pool, order)
    living = _place(world, pool, runners, result.launched)
    equip_in_s = equip(world, pool, living, tokens=ready.tokens)
    row = _remember(world, pool, row, result)
    _tell(world, pool, living, at=at)
    came = {one.runner_id for one in result.launched}
    for runner in runners:
        if runner.id not in came:
            without_job = replace(runner, for_job=None)
            with left_to_sweep(without_job, Reason.LAUNCH_FAILED):
                close_runner(world, end_machine(world, without_job, Reason.LAUNCH_FAILED))
    _announce(pool, order, result)
    return LaunchOutcome(machines=len(living), equip_in_s=equip_in_s), row


def _place(
    world: World, pool: PoolConfig, runners: Sequence[Runner], launched: Sequence[Launched]
) -> list[Runner]:
    """The runners that have a machine now; a machine whose runner is gone is ended at once."""
    places = [
        Placement(
            runner_id=one.runner_id,
            machine_id=one.machine_id,
            mailbox=one.mailbox,
            capacity=str(one.capacity or pool.backend),
        )
        for one in launched
    ]
    placed = world.runners.place(places)
    unplaced = [one.machine_id for one in places if one.runner_id not in placed]
    if unplaced:
        emit(MachinesUnplaced(pool=pool.name, machines=len(unplaced)), level=WARNING)
        # What cannot be ended now has no row: the sweep finds it among the strays.
        with suppress(FleetError):
            world.backend(pool).end(unplaced)
    by_id = {place.runner_id: place for place in places if place.runner_id in placed}
    return [
        replace(runner, mailbox=by_id[runner.id].mailbox, machine_id=by_id[runner.id].machine_id)
        for runner in runners
        if runner.id in by_id
    ]


def _remember(world: World, pool: PoolConfig, row: PoolRow, result: LaunchResult) -> PoolRow:
    """What this launch taught about where there is capacity, and whether AWS takes our wishes.

    The row as it is now: the next launch of the same round adds to it.
    """
    at = world.clock()
    back_off = dict(row.back_off or {})
    kinds = {short.kind for short in result.shortfalls}
    if kinds == {ErrorKind.CONFIGURATION} and not result.launched:
        short = result.shortfalls[0]
        words = f"{short.code}: {short.message}. {advice(short.code)}"
        world.fleet.note_refused(pool.name, words, world.config.version)
        row = replace(row, refused=words)
    elif row.refused and (result.launched or kinds & {ErrorKind.CAPACITY, ErrorKind.QUOTA}):
        world.fleet.note_accepted(pool.name)
        row = replace(row, refused=None)
    for short in result.shortfalls:
        for key in _keys(short, world, pool):
            back_off[key] = note_failure(back_off.get(key), short.kind, short.code, at)
    for one in result.launched:
        if one.capacity is not None:
            back_off = note_success(back_off, one.capacity)
    if back_off != dict(row.back_off or {}):
        world.fleet.note_back_off(pool.name, back_off)
    return replace(row, back_off=back_off)


def _keys(short: Shortfall, world: World, pool: PoolConfig) -> list[str]:
    if short.capacity is not None:
        return [str(short.capacity)]
    return [str(one) for one in world.backend(pool).capacity_pools(pool)] or ["*"]


def _tell(world: World, pool: PoolConfig, runners: Sequence[Runner], *, at: datetime) -> None:
    steps: Mapping[JobKey, Step] = {
        runner.for_job: Step(
            at=at,
            name=StepName.LAUNCHED,
            reason=Reason.COVERED,
            runner=runner.id,
            machine=runner.machine_id,
            pool=pool.name,
        )
        for runner in runners
        if runner.for_job
    }
    world.jobs.launched(steps)


def _announce(pool: PoolConfig, order: LaunchOrder, result: LaunchResult) -> None:
    asked, came = len(order.runner_ids), len(result.launched)
    if came:
        where = str(result.launched[0].capacity or pool.backend)
        emit(
            RunnersLaunched(
                pool=pool.name, launch_id=order.launch_id, asked=asked, came=came, capacity=where
            )
        )
    by_code = {short.code: short for short in result.shortfalls}  # there is one for each place
    for short in by_code.values():
        level = ERROR if short.kind is ErrorKind.CONFIGURATION else WARNING
        told = LaunchShort(
            pool=pool.name,
            code=short.code,
            kind=short.kind.value,
            missing=asked - came,
            advice=advice(short.code),
        )
        emit(told, level=level)
