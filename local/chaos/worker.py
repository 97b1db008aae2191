"""A worker of the suite: `python -m local.chaos.worker folder [containers]`.

`containers`: JSON of `ContainerOptions`; without it machines are processes.

It reads runs from standard input, a line of JSON each (`{"fault", "seed"}`), and prints the result
of each, a line of JSON as well.
"""

import json
import signal
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import gitlab
from botocore.exceptions import BotoCoreError, ClientError

from fleet.errors import FleetError
from local.aws.engine import EngineFailed
from local.chaos.faults.catalogue import fault_named
from local.chaos.faults.fault import Fault
from local.chaos.fleet_file import Periods
from local.chaos.judge import ChaosResult, broken_run
from local.chaos.stage import Stage
from local.gitlab.seed import SeedFailed
from local.laptop import ContainerOptions

BROKEN = (
    FleetError,
    EngineFailed,
    SeedFailed,
    BotoCoreError,
    ClientError,
    gitlab.GitlabError,
    OSError,  # time-outs among them
)


class Worker:
    """A context. Runs of one kind share a laptop until a run is not ok."""

    def __init__(self, folder: Path, containers: ContainerOptions | None = None) -> None:
        self._folder = folder
        self._containers = containers
        self._closing = ExitStack()
        self._stage: Stage | None = None
        self._kind: tuple[Periods, bool] | None = None
        self._laptops = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def run(self, fault: Fault, seed: int) -> ChaosResult:
        """One run; one that breaks has a result that says how."""
        if self._containers:
            fault = fault.on_containers()
        try:
            result = self._stage_for(fault).run(fault, seed)
        except BROKEN as exc:
            result = broken_run(fault.name, seed, f"{type(exc).__name__}: {exc}")
        if not result.ok:
            self._leave()
        return result

    def _stage_for(self, fault: Fault) -> Stage:
        if self._stage is not None and self._kind == fault.kind:
            return self._stage
        self._leave()
        self._laptops += 1
        folder = self._folder / f"laptop-{self._laptops}"
        stage = Stage(
            folder,
            fault.periods,
            keeps_state=fault.keeps_state,
            containers=self._containers,
        )
        self._stage = self._closing.enter_context(stage)
        self._kind = fault.kind
        return self._stage

    def _leave(self) -> None:
        self._stage = None
        self._closing.close()


def main(arguments: list[str]) -> int:
    """Serve standard input until it ends, or SIGINT comes: then the run under way is given up."""
    folder, *chosen = arguments
    containers = ContainerOptions(**json.loads(chosen[0])) if chosen else None
    with suppress(KeyboardInterrupt), Worker(Path(folder), containers) as worker:
        for line in sys.stdin:
            order = json.loads(line)
            fault = fault_named(order["fault"])
            if fault is None:
                return 2
            result = worker.run(fault, order["seed"])
            print(json.dumps(result.to_json() | {"trail": result.trail}), flush=True)
        return 0
    return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
