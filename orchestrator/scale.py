"""The shared SQS poller autoscaler: count, decide, launch in bulk, settle the messages.

Both back ends, and the one that exists only in tests, are served by the same code.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from adapters.aws.demand import DemandQueue, Received
from fleet.config.model import PoolConfig
from fleet.errors import FleetError
from fleet.events import (
    ERROR,
    PoolFailed,
    RunnerEndOrdered,
    ScaleDecided,
    WarmLaunchesStopped,
    emit,
)
from fleet.model import Job, JobKey, RunnerState, ScalePlan
from fleet.reasons import Reason
from fleet.rules.controls import Control, to_drain
from fleet.rules.demand import is_behind, is_dead_letter_settled, waits_in
from fleet.rules.equipping import is_abandoned
from fleet.rules.scale import decide_scale, looks_again, wants_room
from fleet.steps import Step, StepName
from orchestrator.credentials import SOON_S, equip
from orchestrator.launch import LaunchTally, launch
from orchestrator.observe import Observed, Restraints, observe, observe_restraints
from orchestrator.world import World

# Ten messages each. Reading them is cheap, but the function's time is limited.
RECEIVES_AT_MOST = 60
# Ten dead letters each, so a hundred in a round: they wait for a person, for weeks.
DEAD_LETTERS_AT_MOST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleResult:
    """What one round did. `again_in_s`: seconds to the next round; None: nothing is left to do."""

    launched: int
    drained: int
    again_in_s: int | None
    reasons: Mapping[str, Reason]  # by pool


def scale(world: World) -> ScaleResult:
    """One round over every pool of every back end; a pool that fails does not stop the others.

    The first failure is raised at the end, unless another pool has more to do: then the next round
    meets the failure again.
    """
    round_ = _Round(restraints=observe_restraints(world))
    for backend, queue in world.queues.items():
        pools = [pool for pool in world.config.pools if pool.backend == backend]
        messages = None
        with round_.collecting_failure(backend):
            messages = queue.depth()
        for pool in pools:
            with round_.collecting_failure(backend, pool.name):
                round_.serve(world, pool, messages or 0)
        if messages is not None:  # also for a count of 0: it is approximate
            with round_.collecting_failure(backend):
                round_.again |= settle_messages(world, queue, round_.listed)
        with round_.collecting_failure(backend):
            settle_dead_letters(world, queue)
    again_in_s = SOON_S if round_.again else round_.tally.equip_in_s
    if round_.failures and again_in_s is None:
        raise round_.failures[0]
    return ScaleResult(
        launched=round_.tally.machines,
        drained=round_.drained,
        again_in_s=again_in_s,
        reasons=round_.reasons,
    )


@dataclass(slots=True, kw_only=True)
class _Round:
    """One round so far."""

    restraints: Restraints
    tally: LaunchTally = field(default_factory=LaunchTally)
    drained: int = 0
    again: bool = False
    reasons: dict[str, Reason] = field(default_factory=dict)
    failures: list[Exception] = field(default_factory=list)
    listed: dict[str, frozenset[JobKey]] = field(default_factory=dict)  # waiting jobs, by pool

    def serve(self, world: World, pool: PoolConfig, messages: int) -> None:
        """Observe, decide and act for one pool."""
        observed = observe(world, pool, messages=messages, restraints=self.restraints)
        observed = end_ordered(world, observed, self.restraints.controls)
        self.listed[pool.name] = observed.listed
        plan = decide_scale(observed.snapshot, observed.limits)
        tally = carry_out(world, observed, plan)
        note_full(world, observed, plan)
        self.tally += tally
        self.drained += len(plan.drain) + len(plan.outdated)
        self.again |= looks_again(
            plan,
            machines=tally.machines,
            held=tally.held,
            was_full=observed.row.wants_room,
            was_held=observed.is_held,
        )
        self.reasons[pool.name] = _reason(plan, tally)

    @contextmanager
    def collecting_failure(self, backend: str, pool: str | None = None) -> Iterator[None]:
        """Log a failure now and keep it for the end of the round; without `pool` the queue's."""
        try:
            yield
        except FleetError as exc:
            self.failures.append(exc)
            error = f"{type(exc).__name__}: {exc}"
            emit(PoolFailed(backend=backend, pool=pool, error=error), level=ERROR)


def carry_out(world: World, observed: Observed, plan: ScalePlan) -> LaunchTally:
    """Carry out the plan of one pool."""
    pool, snapshot = observed.pool, observed.snapshot
    by_id = {runner.id: runner for runner in snapshot.runners}
    for runner_id in plan.drain:
        world.runners.drain(by_id[runner_id], plan.reason, at=snapshot.at)
    for runner_id in plan.outdated:
        world.runners.drain(by_id[runner_id], Reason.OUTDATED, at=snapshot.at)
    holds = snapshot.holds
    tally = launch(world, pool, observed.row, plan, holds) if plan.launches else LaunchTally()
    waiting = {**plan.waiting, **tally.held_jobs}
    # After the launch: tens of thousands of rows take their time.
    _note_waits(world, pool, snapshot.backlog, waiting)
    bare = (runner for runner in snapshot.runners if is_abandoned(runner, snapshot.at))
    tally += LaunchTally(equip_in_s=equip(world, pool, bare, holds=holds))
    if tally.equip_in_s is None:
        tally = replace(tally, equip_in_s=plan.ask_in_s)
    if snapshot.why_no_warm is Reason.WARM_STOPPED and observed.limits.idle_target:
        warm = observed.row.warm
        emit(
            WarmLaunchesStopped(pool=pool.name, failures=warm.failures, why=warm.why or ""),
            level=ERROR,
        )
    reason = _reason(plan, tally)
    before = (observed.row.reason, observed.row.wants_room)
    is_news = before != (reason.value, wants_room(plan))
    if tally.machines or plan.drain or plan.outdated or is_news:
        world.fleet.note_decision(pool.name, reason.value, wants_room=wants_room(plan))
        _announce(observed, plan, reason)
    return tally


def _reason(plan: ScalePlan, tally: LaunchTally) -> Reason:
    """The plan's reason, or why it led to no machine."""
    if tally.held and not tally.machines:
        return next(iter(tally.held_jobs.values()), Reason.GITLAB_REFUSES)
    return plan.reason


def end_ordered(world: World, observed: Observed, controls: Sequence[Control]) -> Observed:
    """Drain the runners that an operator ordered to end; the pool as it is then."""
    orders = to_drain(controls, observed.snapshot.runners)
    if not orders:
        return observed
    runners = []
    for runner in observed.snapshot.runners:
        order = orders.get(runner.id)
        if order is None:
            runners.append(runner)
            continue
        world.runners.drain(runner, Reason.ORDERED, at=world.clock())
        event = RunnerEndOrdered(
            runner_id=runner.id, pool=runner.pool, who=order.who, at_once=order.at_once
        )
        emit(event)
        runners.append(replace(runner, state=RunnerState.DRAINING))
    return replace(observed, snapshot=replace(observed.snapshot, runners=tuple(runners)))


def note_full(world: World, observed: Observed, plan: ScalePlan) -> None:
    """Record since when jobs wait because the pool is at its ceiling."""
    is_full = Reason.AT_CEILING in {plan.reason, *plan.waiting.values()}
    if is_full is (observed.row.full_since is None):
        world.fleet.note_full(observed.pool.name, observed.snapshot.at if is_full else None)


def settle_messages(
    world: World, queue: DemandQueue, listed: Mapping[str, frozenset[JobKey]]
) -> bool:
    """Delete the messages whose jobs are served or over; the queue shows the others again later.

    True where a job waits that the index of waiting jobs, `listed` by pool, did not show yet. The
    index lags behind the rows, and a wake follows them within a second: another round must look.
    """
    is_any_behind = False
    for _ in range(RECEIVES_AT_MOST):
        messages = queue.receive()
        if not messages:
            break
        ours = [
            message
            for message in messages
            if message.demand and _is_served(world, queue, message.demand.pool)
        ]
        jobs = world.jobs.jobs(message.demand.job for message in ours if message.demand)
        waiting = [message for message in ours if _waits(message, jobs)]
        queue.delete([message for message in messages if message not in waiting])
        queue.postpone(waiting)
        is_any_behind |= any(is_behind(job, listed) for job in jobs.values())
        if len(waiting) == len(messages):
            break
    return is_any_behind


def settle_dead_letters(world: World, queue: DemandQueue) -> None:
    """Delete the dead letters of jobs that are over, or no longer given up."""
    for _ in range(DEAD_LETTERS_AT_MOST if queue.dead() else 0):
        dead_letters = queue.dead_letters.receive()
        if not dead_letters:
            return
        jobs = world.jobs.jobs(message.demand.job for message in dead_letters if message.demand)
        settled = [each for each in dead_letters if _is_over(each, jobs)]
        queue.dead_letters.delete(settled)


def _is_over(dead_letter: Received, jobs: Mapping[JobKey, Job]) -> bool:
    """Whether a dead letter may be deleted; one that is no demand stays."""
    return dead_letter.demand is not None and is_dead_letter_settled(
        jobs.get(dead_letter.demand.job), times=dead_letter.times
    )


def _is_served(world: World, queue: DemandQueue, name: str) -> bool:
    """Whether the pool exists and this queue serves it: `apply` may have changed that."""
    pool = world.pool(name)
    return pool is not None and world.queues.get(pool.backend) is queue


def _waits(message: Received, jobs: Mapping[JobKey, Job]) -> bool:
    """Whether the message's job still needs a launch, in the pool that the message is for."""
    demand = message.demand
    return demand is not None and waits_in(jobs.get(demand.job), demand.pool)


def _note_waits(
    world: World, pool: PoolConfig, backlog: Iterable[Job], waiting: Mapping[JobKey, Reason]
) -> None:
    """Write into each row why its job waits, where that changed."""
    at = world.clock()
    changed = {
        job.key: Step(at=at, name=StepName.WAITS, reason=waiting[job.key], pool=pool.name)
        for job in backlog
        if job.key in waiting and job.reason is not waiting[job.key]
    }
    world.jobs.note_reasons(changed)


def _announce(observed: Observed, plan: ScalePlan, reason: Reason) -> None:
    emit(
        ScaleDecided(
            pool=observed.pool.name,
            reason=reason.value,
            backlog=len(observed.snapshot.backlog),
            runners=observed.snapshot.size,
            messages=observed.snapshot.messages,
            launch=plan.launches,
            drain=len(plan.drain) + len(plan.outdated),
        )
    )
