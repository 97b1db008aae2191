"""What the end of a runner says of its pool's warm launches."""

from datetime import datetime

from fleet.errors import FleetError
from fleet.events import WARNING, WarmMachineFailed, WorkPutOff, emit
from fleet.machine.mailbox import Report
from fleet.model import Runner
from fleet.reasons import Reason
from fleet.rules.capacity import note_machine_failure, note_served
from fleet.rules.schedule import idle_target
from fleet.rules.warm import after_failure, is_forgotten, is_news, is_proof, why_failed
from orchestrator.world import World


def note_warm_end(
    world: World, runner: Runner, report: Report | None, reason: Reason, *, at: datetime
) -> None:
    """Count a warm launch that failed, or forget those before a runner that served.

    Only the caller that closed the runner's row calls this. It is a hint for later launches, so a
    failure here is logged: the runner is closed.
    """
    try:
        why = why_failed(runner, report, reason, at=at)
        if why is not None:
            _count(world, runner, why, at)
        elif is_proof(runner, report):
            _forget(world, runner, at)
    except FleetError as exc:
        doing = f"note how warm runner {runner.id} ended"
        emit(WorkPutOff(doing=doing, error=str(exc)), level=WARNING)


def _count(world: World, runner: Runner, why: str, at: datetime) -> None:
    row = world.fleet.pool(runner.pool)
    if _has_capacity_pools(world, runner):
        world.fleet.note_back_off(
            runner.pool, note_machine_failure(row.back_off, str(runner.capacity), at)
        )
    if not is_news(row.warm, runner):
        return
    after = after_failure(row.warm, world.runners.live(runner.pool), why=why, at=at)
    if world.fleet.note_warm_failure(runner.pool, row.warm, after):
        emit(
            WarmMachineFailed(
                pool=runner.pool,
                runner_id=runner.id,
                machine_id=runner.machine_id,
                capacity=runner.capacity,
                failures=after.failures,
                why=why,
            ),
            level=WARNING,
        )


def _forget(world: World, runner: Runner, at: datetime) -> None:
    """Forget the failures before a runner that served, in a pool that keeps runners warm."""
    pool = world.pool(runner.pool)
    if pool is None or not idle_target(pool.idle, at):
        return
    row = world.fleet.pool(runner.pool)
    if is_forgotten(row.warm, runner, attempts=pool.attempts):
        world.fleet.note_warm_served(runner.pool, row.warm)
    kept = note_served(row.back_off, str(runner.capacity))
    if kept != row.back_off:
        world.fleet.note_back_off(runner.pool, kept)


def _has_capacity_pools(world: World, runner: Runner) -> bool:
    """Whether the runner's back end has capacity pools to choose from."""
    return runner.capacity is not None and runner.capacity != runner.backend
