"""Workers of the chaos suite: a worker that ends is a broken run, and the next run gets another."""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from local.chaos.faults.fault import Fault
from local.chaos.judge import ChaosResult
from local.chaos.suite import Plan, run_suite

UNKNOWN = Fault(name="sunshine", about="not in the catalogue", act=lambda _: None)
ENDED = ("the run broke: the worker ended with 2",)


def worker(folder: Path, orders: str) -> tuple[int, str]:
    """Exit code and output of a worker with these orders."""
    command = [sys.executable, "-m", "local.chaos.worker", str(folder)]
    done = subprocess.run(
        command, input=orders, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout


def summary(rows: Iterable[ChaosResult]) -> list[tuple[str, int, tuple[str, ...]]]:
    return sorted((row.fault, row.seed, row.problems) for row in rows)


def test_each_run_of_workers_that_end_is_a_broken_run(tmp_path: Path) -> None:
    plan = Plan(faults=[UNKNOWN], seeds=[1, 2, 3], at_once=2, data=tmp_path)
    assert summary(run_suite(plan)) == [("sunshine", seed, ENDED) for seed in (1, 2, 3)]


def test_a_plan_without_runs_has_no_rows() -> None:
    assert list(run_suite(Plan(faults=[], seeds=[1]))) == []


def test_a_caller_that_stops_early_waits_for_no_further_run(tmp_path: Path) -> None:
    rows = run_suite(Plan(faults=[UNKNOWN], seeds=range(50), data=tmp_path))
    assert not next(rows).ok
    rows.close()  # type: ignore[attr-defined]  # it is a generator


def test_a_worker_ends_with_its_input(tmp_path: Path) -> None:
    assert worker(tmp_path, "") == (0, "")


def test_a_worker_ends_at_a_fault_that_it_does_not_know(tmp_path: Path) -> None:
    assert worker(tmp_path, json.dumps({"fault": "sunshine", "seed": 1}) + "\n") == (2, "")
