"""From a plan to machines: reserve, launch in bulk, place, equip. Every part may be repeated."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import ceil

from adapters.ledger.pools import PoolRow
from adapters.ledger.runners import RESERVED_AT_ONCE, Placement
from adapters.machines.backend import Launched, LaunchOrder, LaunchResult, ServedProject
from fleet.aws_errors import ErrorKind, advice
from fleet.config.model import PoolConfig
from fleet.errors import FleetError
from fleet.events import (
    ERROR,
    WARNING,
    LaunchShort,
    MachinesUnplaced,
    RunnersLaunched,
    emit,
)
from fleet.holds import Hold
from fleet.model import JobKey, Runner, RunnerState, ScalePlan
from fleet.reasons import Reason
from fleet.rules.batches import Batch, batches, capacity_pools_for
from fleet.rules.capacity import CapacityPool, decide_capacity
from fleet.rules.holds import asks_again_in_s
from fleet.rules.launch_memory import (
    ConfigurationRefusal,
    LaunchFacts,
    LaunchMemory,
    MissingMachines,
    learn,
    most_urgent,
)
from fleet.rules.runner_record import PREFIX
from fleet.steps import Step, StepName
from orchestrator.close import close_runner, end_machine, left_to_sweep
from orchestrator.credentials import Ready, discard, equip, prepare
from orchestrator.world import World

NO_CODE = "NoCode"  # CloudWatch takes no empty dimension


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchTally:
    """What launches led to, added up."""

    machines: int = 0
    equip_in_s: int | None = None  # when to try again for machines without a credential
    held: int = 0  # launches that GitLab gave no credential for
    held_jobs: Mapping[JobKey, Reason] = field(default_factory=dict)

    def __add__(self, other: "LaunchTally") -> "LaunchTally":
        """Both together."""
        waits = [wait for wait in (self.equip_in_s, other.equip_in_s) if wait is not None]
        return LaunchTally(
            machines=self.machines + other.machines,
            equip_in_s=max(waits, default=None),
            held=self.held + other.held,
            held_jobs={**self.held_jobs, **other.held_jobs},
        )


def launch(
    world: World, pool: PoolConfig, row: PoolRow, plan: ScalePlan, holds: Sequence[Hold] = ()
) -> LaunchTally:
    """Carry out the launches of a plan."""
    tally = LaunchTally()
    version = row.version
    capacity_pools = world.backend(pool).capacity_pools(pool)
    general: Hold | None = None
    for batch in batches(plan, per_project=_is_per_project(world)):
        try_in = decide_capacity(capacity_pools, row.back_off or {}, world.clock())
        if capacity_pools and not try_in:
            break  # the batches before took all that the capacity pools had
        wanted = _requested(world, pool, batch)
        ready = Ready(hold=general) if general else prepare(world, pool, row, wanted, holds)
        tally += _held(wanted, ready, world.clock())
        general = ready.hold if ready.hold and ready.hold.project_id is None else None
        if not ready.runners:
            continue
        reserved = world.runners.reserve(ready.runners, ceiling=pool.ceiling, version=version)
        discard(world, ready.runners[len(reserved) :])
        version += ceil(len(reserved) / RESERVED_AT_ONCE)
        if not reserved:
            break  # another round reserved since this one observed: it must observe again
        ready = replace(ready, runners=reserved)
        order = _order(pool, batch, reserved, capacity_pools_for(batch, try_in))
        order_tally, row = _launch(world, pool, row, ready, order)
        tally += order_tally
    return tally


def _is_per_project(world: World) -> bool:
    """Whether each project has runners of its own."""
    owner = world.config.gitlab.runners_in
    return owner.kind == "project" and owner.id is None


def _held(wanted: Iterable[Runner], ready: Ready, at: datetime) -> LaunchTally:
    """The tally for the runners that GitLab gives no credential."""
    if ready.hold is None:
        return LaunchTally()
    allowed = {runner.id for runner in ready.runners}
    held = [runner for runner in wanted if runner.id not in allowed]
    jobs = [runner.for_job for runner in held if runner.for_job is not None]
    return LaunchTally(
        held=len(held),
        held_jobs=dict.fromkeys(jobs, ready.hold.reason),
        equip_in_s=asks_again_in_s(ready.hold, at),
    )


def _requested(world: World, pool: PoolConfig, batch: Batch) -> list[Runner]:
    """The runners to launch, as they are written before the cloud is asked."""
    at, launch_id = world.clock(), world.new_id()
    return [
        Runner(
            id=f"{PREFIX}{pool.name}-{world.new_id()}",
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


def _order(
    pool: PoolConfig,
    batch: Batch,
    runners: Sequence[Runner],
    try_in: tuple[CapacityPool, ...],
) -> LaunchOrder:
    projects = {
        job.key: ServedProject(id=job.project_id, path=job.project_path)
        for job in batch.jobs
        if job is not None
    }
    return LaunchOrder(
        launch_id=runners[0].launch_id,
        runner_ids=tuple(runner.id for runner in runners),
        call_home_by=runners[0].launched_at + pool.boot_deadline,
        expires_at=runners[0].expires_at,
        try_in=try_in,
        served={runner.id: projects[runner.for_job] for runner in runners if runner.for_job},
    )


def _launch(
    world: World,
    pool: PoolConfig,
    row: PoolRow,
    ready: Ready,
    order: LaunchOrder,
) -> tuple[LaunchTally, PoolRow]:
    """Send one order for all of these runners, and close those without a machine.

    The tally, and the pool's row with what the order taught of its capacity pools.
    """
    at, runners = world.clock(), ready.runners
    result = world.backend(pool).launch(pool, order)
    living = _place(world, pool, runners, result.launched)
    equip_in_s = equip(world, pool, living, tokens=ready.tokens)
    row = _remember(world, pool, row, result)
    _add_to_histories(world, pool, living, at=at)
    launched = {machine.runner_id for machine in result.launched}
    for runner in runners:
        if runner.id not in launched:
            # The order may have failed for all: the job waits on, and its history says nothing.
            without_job = replace(runner, for_job=None)
            with left_to_sweep(without_job, Reason.LAUNCH_FAILED):
                close_runner(world, end_machine(world, without_job, Reason.LAUNCH_FAILED))
    _announce(pool, order, result)
    return LaunchTally(machines=len(living), equip_in_s=equip_in_s), row


def _place(
    world: World, pool: PoolConfig, runners: Sequence[Runner], launched: Sequence[Launched]
) -> list[Runner]:
    """The runners that have a machine now; a machine whose runner is gone is ended at once."""
    placements = [
        Placement(
            runner_id=machine.runner_id,
            machine_id=machine.machine_id,
            mailbox=machine.mailbox,
            capacity=str(machine.capacity or pool.backend),
            usd_per_hour=world.spot_price(machine.capacity) if world.spot_price else None,
        )
        for machine in launched
    ]
    placed = world.runners.note_placed(placements)
    unplaced = [each.machine_id for each in placements if each.runner_id not in placed]
    if unplaced:
        emit(MachinesUnplaced(pool=pool.name, machines=len(unplaced)), level=WARNING)
        # A machine that cannot be ended now has no row: the sweep ends it as a stray.
        with suppress(FleetError):
            world.backend(pool).end(unplaced)
    by_id = {each.runner_id: each for each in placements if each.runner_id in placed}
    return [
        replace(runner, mailbox=by_id[runner.id].mailbox, machine_id=by_id[runner.id].machine_id)
        for runner in runners
        if runner.id in by_id
    ]


def _remember(world: World, pool: PoolConfig, row: PoolRow, result: LaunchResult) -> PoolRow:
    """Write what the launch taught, where that is news; the row as it is then."""
    before = _memory(row)
    facts = LaunchFacts(
        machines=[machine.capacity for machine in result.launched],
        shortfalls=result.shortfalls,
        capacity_pools=world.backend(pool).capacity_pools(pool),
        version=world.config.version,
    )
    after = learn(before, facts, world.clock())
    refusal = after.refusal
    if refusal is None and before.refusal is not None:
        world.fleet.note_accepted(pool.name)
    elif refusal is not None and refusal != before.refusal:
        world.fleet.note_refused(pool.name, refusal.words, refusal.version)
    if after.back_off != before.back_off:
        world.fleet.note_back_off(pool.name, after.back_off)
    return replace(
        row,
        back_off=after.back_off,
        refused=refusal.words if refusal else None,
        refused_version=refusal.version if refusal else None,
    )


def _memory(row: PoolRow) -> LaunchMemory:
    refusal = (
        ConfigurationRefusal(words=row.refused, version=row.refused_version or "")
        if row.refused
        else None
    )
    return LaunchMemory(back_off=row.back_off or {}, refusal=refusal)


def _add_to_histories(
    world: World, pool: PoolConfig, runners: Sequence[Runner], *, at: datetime
) -> None:
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
    world.jobs.note_reasons(steps)


def _announce(pool: PoolConfig, order: LaunchOrder, result: LaunchResult) -> None:
    asked, launched = len(order.runner_ids), len(result.launched)
    if launched:
        emit(
            RunnersLaunched(
                pool=pool.name,
                launch_id=order.launch_id,
                asked=asked,
                launched=launched,
                capacity=str(result.launched[0].capacity or pool.backend),
            )
        )
    if launched < asked:
        _announce_short(pool, asked - launched, most_urgent(result.shortfalls))


def _announce_short(pool: PoolConfig, missing: int, why: Sequence[MissingMachines]) -> None:
    """Log missing machines in one event: AWS does not say how many each of its codes is about."""
    first = why[0] if why else None
    kind = first.kind if first else ErrorKind.UNKNOWN
    event = LaunchShort(
        pool=pool.name,
        code=(first.code if first else "") or NO_CODE,
        kind=kind.value,
        missing=missing,
        advice=advice(first.code if first else ""),
        other_codes=tuple(short.code or NO_CODE for short in why[1:]),
    )
    emit(event, level=ERROR if kind is ErrorKind.CONFIGURATION else WARNING)
