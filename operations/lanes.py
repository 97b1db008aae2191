"""What each live machine did since its launch, as stretches of time."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import groupby, pairwise

from adapters.ledger.runners import RunnerRows
from fleet.job_event import instance_of
from fleet.machine.mailbox import MachineState
from fleet.model import Runner, RunnerState
from fleet.rules.liveness import by_our_clock, steps_between
from fleet.steps import Step, StepName
from operations.fleet_handle import Deployed
from operations.fleet_view import FleetView, MachineView, PoolView


class Phase(StrEnum):
    """What a machine is at, in the order of its life."""

    BOOTING = "booting"
    IDLE = "idle"
    BUSY = "busy"
    ENDING = "ending"


PHASE_OF_STATE: Mapping[str, Phase] = {
    RunnerState.REQUESTED: Phase.BOOTING,
    RunnerState.IN_FLIGHT: Phase.BOOTING,
    MachineState.BOOTED: Phase.BOOTING,
    RunnerState.IDLE: Phase.IDLE,
    RunnerState.BUSY: Phase.BUSY,
    RunnerState.DRAINING: Phase.ENDING,
    RunnerState.DONE: Phase.ENDING,
}
_BEGUN_BY: Mapping[StepName, Phase] = {
    StepName.CREDENTIAL_READ: Phase.IDLE,
    StepName.JOB_TAKEN: Phase.BUSY,
    StepName.JOB_FINISHED: Phase.ENDING,
    StepName.DRAINED: Phase.ENDING,
    StepName.STOPPED: Phase.ENDING,
    StepName.RUNNER_EXITED: Phase.ENDING,
    StepName.ENDED: Phase.ENDING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A machine was at this from `start` on, until the next stretch begins."""

    phase: Phase
    start: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One live machine; the last of its stretches, oldest first, lasts until now."""

    machine: MachineView
    stretches: tuple[Stretch, ...]

    @property
    def phase(self) -> Phase:
        """What it is at now."""
        return self.stretches[-1].phase


def phases_of(pool: PoolView) -> Mapping[str, int]:
    """The number of a pool's runners in each phase."""
    counts: Counter[str] = Counter()
    for state, count in pool.states.items():
        counts[PHASE_OF_STATE.get(state, Phase.ENDING)] += count
    return counts


def stretches_of(runner: Runner, state: str, steps: Iterable[Step]) -> tuple[Stretch, ...]:
    """The stretches of a runner, by its machine's steps and, for the last one, by the ledger.

    `state`: as `status` shows it. Phases never go back: a later one ends those before it.
    """
    order = list(Phase)
    begun = [Stretch(phase=Phase.BOOTING, start=runner.launched_at)]
    begun += [
        Stretch(phase=_BEGUN_BY[step.name], start=step.at)
        for step in steps
        if step.name in _BEGUN_BY
    ]
    now = PHASE_OF_STATE.get(state, Phase.ENDING)
    begun.append(Stretch(phase=now, start=max(runner.since, runner.launched_at)))
    begun.sort(key=lambda stretch: (order.index(stretch.phase), stretch.start))
    firsts = [next(same) for _, same in groupby(begun, key=lambda stretch: stretch.phase)]
    firsts = [first for first in firsts if order.index(first.phase) <= order.index(now)]
    stretches = [stretch for stretch, later in pairwise(firsts) if stretch.start <= later.start]
    return (*stretches, firsts[-1])


class LaneReader:
    """Lanes of one fleet. `known`: the last ones; a machine that has not changed is not read."""

    def __init__(self, deployed: Deployed, known: Iterable[Lane] = ()) -> None:
        self._deployed = deployed
        self._known = {lane.machine.runner_id: lane for lane in known}

    def read(self, view: FleetView) -> tuple[Lane, ...]:
        """The lane of each machine of a view, in the view's order."""
        changed = [machine for machine in view.machines if self._is_new(machine)]
        lanes = self._read(changed, view)
        return tuple(self._lane(machine, lanes.get(machine.runner_id)) for machine in view.machines)

    def _is_new(self, machine: MachineView) -> bool:
        known = self._known.get(machine.runner_id)
        return known is None or known.machine.state != machine.state

    def _lane(self, machine: MachineView, stretches: tuple[Stretch, ...] | None) -> Lane:
        known = self._known.get(machine.runner_id)
        if stretches is None and known is not None:
            stretches = known.stretches
        only = Stretch(phase=PHASE_OF_STATE.get(machine.state, Phase.ENDING), start=machine.since)
        return Lane(machine=machine, stretches=stretches or (only,))

    def _read(
        self, machines: Sequence[MachineView], view: FleetView
    ) -> dict[str, tuple[Stretch, ...]]:
        deployed, instance = self._deployed, instance_of(view.gitlab)
        rows = RunnerRows(deployed.table, deployed.mailboxes, instance)
        states = {machine.runner_id: machine.state for machine in machines}
        lanes = {}
        for pool in dict.fromkeys(machine.pool for machine in machines):
            runners = [runner for runner in rows.live(pool) if runner.id in states]
            reports = rows.reports(runners)
            for runner in runners:
                report = reports.get(runner.id)
                steps = report.steps if report else ()
                dated = steps_between(steps, start=runner.launched_at, end=view.at)
                by_us = by_our_clock(runner, view.at)
                lanes[runner.id] = stretches_of(by_us, states[runner.id], dated)
        return lanes
