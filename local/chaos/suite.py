"""Hands out runs to workers, each a process with a laptop of its own."""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

from local.chaos.faults.fault import Fault
from local.chaos.judge import ChaosResult, broken_run
from local.laptop import ContainerOptions

STOP_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which runs, and how many of them at once."""

    faults: Sequence[Fault]
    seeds: Sequence[int]
    at_once: int = 1
    containers: ContainerOptions | None = None  # what machines are; else processes
    data: Path | None = None  # keeps the files of the laptops; else they are thrown away

    def runs(self) -> tuple[tuple[Fault, int], ...]:
        """Those that can share a laptop next to each other."""
        kinds = list(dict.fromkeys(fault.kind for fault in self.faults))
        alike = sorted(self.faults, key=lambda fault: kinds.index(fault.kind))
        return tuple((fault, seed) for fault in alike for seed in self.seeds)


@dataclass(slots=True, kw_only=True)
class _Queues:
    """The runs ahead, and the results of those that ended."""

    ahead: deque[tuple[Fault, int]]
    results: queue.SimpleQueue[ChaosResult] = field(default_factory=queue.SimpleQueue)


def run_suite(plan: Plan) -> Iterator[ChaosResult]:
    """One result for each run, in the order of their ends."""
    runs = plan.runs()
    queues = _Queues(ahead=deque(runs))
    with ExitStack() as closing:
        folder = plan.data
        if folder is None:
            temporary = tempfile.TemporaryDirectory(prefix="runner-fleet-chaos-")
            folder = Path(closing.enter_context(temporary))
        for number in range(min(plan.at_once, len(runs))):
            closing.enter_context(_Feeder(queues, plan, folder / f"worker-{number}"))
        for _ in runs:
            yield queues.results.get()


class _Feeder:
    """A context: hands runs to one worker until there is none left, or until it is closed."""

    def __init__(self, queues: _Queues, plan: Plan, folder: Path) -> None:
        self._queues = queues
        self._plan = plan
        self._folder = folder
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._current: subprocess.Popen[str] | None = None

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: object, *_: object) -> None:
        self._closing.set()
        worker = self._current
        if kind is not None and worker is not None:
            worker.send_signal(signal.SIGINT)  # the caller wants no more; the worker cleans up
        self._thread.join()

    def _serve(self) -> None:
        with ExitStack() as closing:
            worker: subprocess.Popen[str] | None = None
            while not self._closing.is_set() and (run := self._next()):
                if worker is None or worker.poll() is not None:
                    worker = self._current = closing.enter_context(self._worker())
                self._queues.results.put(_result(worker, *run))
            if worker and worker.stdin:
                worker.stdin.close()
                worker.wait(STOP_TIMEOUT_S)

    def _next(self) -> tuple[Fault, int] | None:
        try:
            return self._queues.ahead.popleft()
        except IndexError:
            return None

    def _worker(self) -> subprocess.Popen[str]:
        beside = self._folder.parent  # what a worker that is cut off leaves goes with this folder
        beside.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "local.chaos.worker", str(self._folder)),
                *([json.dumps(asdict(self._plan.containers))] if self._plan.containers else []),
            ],
            env={**os.environ, "TMPDIR": str(beside)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


def _result(worker: subprocess.Popen[str], fault: Fault, seed: int) -> ChaosResult:
    """The worker's result of one run; a worker that ends without an answer is a broken run."""
    assert worker.stdin
    assert worker.stdout
    try:
        worker.stdin.write(json.dumps({"fault": fault.name, "seed": seed}) + "\n")
        worker.stdin.flush()
        line = worker.stdout.readline()
    except OSError:
        line = ""
    if not line:
        worker.wait(STOP_TIMEOUT_S)
        return broken_run(fault.name, seed, f"the worker ended with {worker.returncode}")
    return ChaosResult.of_json(json.loads(line))
