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


def test_the_seed_is_that_of_a_run_with_a_problem_even_if_others_waited_longer() -> None:
    bad = replace(GOOD, seed=3, stuck=1, leaked=2, killed_busy=1, problems=("x",))
    (line,) = by_fault([replace(GOOD, seed=2, longest_wait_s=99.0), bad])
    assert (line.seed, line.ok) == (3, False)
    assert (line.stuck, line.leaked, line.killed_busy) == (1, 2, 1)


def test_runs_without_a_moment_for_the_fault_are_counted() -> None:
    (line,) = by_fault([GOOD, replace(GOOD, seed=2, injected=0)])
    assert (line.runs, line.struck) == (2, 1)
