"""Many runs as one line per fault."""

from dataclasses import replace

from local.chaos.judge import Row
from local.chaos.table import by_fault

GOOD = Row(
    fault="a",
    seed=1,
    jobs=5,
    finished=5,
    longest_wait_s=3.0,
    launched=6,
    surplus_machine_s=2.5,
    stuck=0,
    leaked=0,
    killed_busy=0,
    injected=1,
    seconds=9.0,
    problems=(),
)


def test_runs_without_a_moment_for_the_fault_are_counted() -> None:
    (line,) = by_fault([GOOD, replace(GOOD, seed=2, injected=0)])
    assert (line.runs, line.struck) == (2, 1)
