"""Workers of the chaos suite: runs are handed out, and what breaks is told as a row."""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from local.chaos.fault import Fault
from local.chaos.judge import Row
from local.chaos.scene import Scene
from local.chaos.suite import Plan, run_suite


def nothing(_: Scene) -> None:
    """A fault that does nothing."""


def fault(name: str) -> Fault:
    """One that no worker knows by its name."""
    return Fault(name=name, about="not in the list", act=nothing)


def told(rows: Iterable[Row]) -> list[tuple[str, int, tuple[str, ...]]]:
    return sorted((row.fault, row.seed, row.problems) for row in rows)


def test_a_worker_that_ends_is_a_broken_run_and_the_next_run_gets_another(tmp_path: Path) -> None:
    plan = Plan(faults=[fault("a"), fault("b")], seeds=[1, 2], at_once=2, data=tmp_path)
    why = ("the run broke: the worker ended with 2",)
    assert told(run_suite(plan)) == [("a", 1, why), ("a", 2, why), ("b", 1, why), ("b", 2, why)]


def test_no_run_is_no_row_and_no_folder_is_left() -> None:
    assert list(run_suite(Plan(faults=[], seeds=[1]))) == []


def test_whoever_stops_early_waits_for_no_further_run(tmp_path: Path) -> None:
    plan = Plan(faults=[fault("a")], seeds=range(50), data=tmp_path)
    rows = run_suite(plan)
    assert not next(rows).ok
    rows.close()  # type: ignore[attr-defined]  # it is a generator


def test_a_worker_ends_with_its_input(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "local.chaos.worker", str(tmp_path)]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == ""


def test_a_worker_says_nothing_of_a_fault_that_it_does_not_know(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "local.chaos.worker", str(tmp_path)]
    order = json.dumps({"fault": "sunshine", "seed": 1}) + "\n"
    done = subprocess.run(
        command, input=order, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
