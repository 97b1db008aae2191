"""The judge: what counts as stuck, leaked, killed at work, and wasted; and many runs together."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.chaos.gitlab_eye import ObservedJob
from local.chaos.judge import (
    ChaosResult,
    EndedMachines,
    Evidence,
    MachineLife,
    broken_run,
    is_over,
    judge,
    unfinished,
)
from local.chaos.pipeline import ANY_END, FAILED, Planned
from local.chaos.table import by_fault

AT = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
PIPELINE = 3
JOB = ObservedJob(
    id=1,
    name="one",
    status="success",
    tag="ec2",
    pipeline_id=PIPELINE,
    runner="rf-1",
    failure_reason=None,
    is_retried=False,
    queued_at=AT,
    started_at=AT + timedelta(seconds=2),
    finished_at=AT + timedelta(seconds=5),
)


def planned(name: str = "one", **facts: Any) -> Planned:
    return Planned(name=name, tag="ec2", seconds=1.0, **facts)


def job(**facts: Any) -> ObservedJob:
    """A job that waited 2 s and ran 3 s on `rf-1`."""
    return replace(JOB, **facts)


def machine(number: int = 1, *, gone: float = 6) -> MachineLife:
    gone_at = AT + timedelta(seconds=gone)
    return MachineLife(
        runner_id=f"rf-{number}", machine_id=f"i-{number}", launched_at=AT, gone_at=gone_at
    )


GOOD = Evidence(
    planned=[(PIPELINE, [planned()])],
    jobs=[job()],
    machines=[machine()],
    ended=[],
    dead=frozenset(),
    cancelled=frozenset(),
    leaked={},
    broken=(),
    injected=1,
    seconds=9.0,
)


def result(*, seed: int = 7, wait_at_most_s: float | None = None, **facts: Any) -> ChaosResult:
    return judge("fault", seed, replace(GOOD, **facts), wait_at_most_s=wait_at_most_s)


def test_a_good_run_is_counted_and_has_no_problem() -> None:
    good = result(wait_at_most_s=2.0)
    assert good.ok
    assert (good.fault, good.seed, good.jobs, good.finished) == ("fault", 7, 1, 1)
    assert (good.longest_wait_s, good.launched, good.surplus_machine_s) == (2.0, 1, 1.0)
    assert (good.stuck, good.leaked, good.killed_busy) == (0, 0, 0)


NOT_TAKEN = {"started_at": None, "finished_at": None}
STUCK = [
    *(
        ([job(status=status, **NOT_TAKEN)], f"one (job 1) is {status}, should be success")
        for status in ("created", "pending", "running", "failed", "canceled")
    ),
    (
        [job(status="failed", failure_reason="runner_system_failure")],
        "one (job 1) is failed, runner_system_failure, should be success",
    ),
    ([], "one is missing, should be success"),
]


@pytest.mark.parametrize(("jobs", "problem"), STUCK)
def test_a_job_that_did_not_end_as_it_must_is_stuck(jobs: list[ObservedJob], problem: str) -> None:
    bad = result(jobs=jobs)
    assert (bad.finished, bad.stuck, bad.ok, bad.problems) == (0, 1, False, (problem,))


def test_the_newest_job_of_a_name_counts_in_each_pipeline() -> None:
    lost = job(status="canceled", is_retried=True, runner="rf-dead")
    assert result(jobs=[job(id=2), lost], dead=frozenset({"rf-dead"})).ok
    both = result(planned=[(3, [planned()]), (4, [planned()])], jobs=[job()])
    assert (both.jobs, both.finished, both.stuck) == (2, 1, 1)


@pytest.mark.parametrize(
    ("ends", "status"), [(FAILED, "failed"), (ANY_END, "canceled"), (ANY_END, "skipped")]
)
def test_a_job_may_be_meant_to_end_otherwise(ends: frozenset[str], status: str) -> None:
    assert unfinished([(PIPELINE, [planned(ends=ends)])], [job(status=status)]) == []
    assert is_over(job(status=status))
    assert not is_over(job(status="running"))


AT_WORK = [EndedMachines(machine_ids=("i-1", "i-2"), at_work={1: "rf-1"})]
CANCELLED = [job(status="canceled", is_retried=True), job(id=2)]


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"ended": AT_WORK}, "the fleet ended i-1 while job 1 ran on rf-1"),
        ({"jobs": CANCELLED}, "the fleet cancelled job 1 (one) on rf-1"),
    ],
)
def test_a_job_that_the_fleet_ended_at_work_counts(facts: dict[str, Any], problem: str) -> None:
    bad = result(**facts)
    assert (bad.killed_busy, bad.problems) == (1, (problem,))


@pytest.mark.parametrize(
    "facts",
    [
        *({"ended": AT_WORK, "dead": frozenset({dead})} for dead in ("i-1", "rf-1")),
        *(
            {"ended": [EndedMachines(machine_ids=("i-1",), at_work=at_work)]}
            for at_work in ({}, {1: "rf-unknown"}, {1: ""})
        ),
        {
            "machines": [machine(1), machine(2)],
            "ended": [EndedMachines(machine_ids=("i-1",), at_work={1: "rf-2"})],
        },
        {"jobs": CANCELLED, "cancelled": frozenset({PIPELINE})},  # by a person
        {"jobs": [CANCELLED[0], job(id=2, runner="rf-2")], "dead": frozenset({"rf-1"})},
    ],
)
def test_no_other_end_counts_as_killed(facts: dict[str, Any]) -> None:
    assert result(**facts).killed_busy == 0


TWO_JOBS = {
    "planned": [(PIPELINE, [planned(), planned("two")])],
    "jobs": [job(), job(id=2, name="two", finished_at=AT + timedelta(seconds=8))],
    "machines": [machine(gone=10)],
}


@pytest.mark.parametrize(
    ("facts", "surplus_s"),
    [
        pytest.param(
            {"machines": [machine(1), machine(2, gone=10)]}, 11.0, id="all a life, no job"
        ),
        pytest.param({"machines": [machine(gone=4.9)]}, 0.0, id="gone before its job's end"),
        pytest.param(TWO_JOBS, 2.0, id="after the last of two jobs"),
    ],
)
def test_surplus_is_the_time_after_the_last_job(facts: dict[str, Any], surplus_s: float) -> None:
    assert result(**facts).surplus_machine_s == surplus_s


def test_the_longest_wait_is_of_any_job_that_was_taken() -> None:
    at = AT + timedelta(seconds=30)
    early = job(status="failed", is_retried=True, started_at=at, finished_at=at)
    never = job(id=3, name="never", **NOT_TAKEN)
    assert result(jobs=[early, job(id=2), never]).longest_wait_s == 30.0
    assert result(jobs=[job(status="pending", **NOT_TAKEN)]).longest_wait_s == 0.0


def test_each_leak_each_broken_promise_and_a_long_wait_is_a_problem() -> None:
    leaked = {"instances": 2, "messages": 0, "processes": 1}
    bad = result(leaked=leaked, broken=("the webhook is off",), wait_at_most_s=1.9)
    assert bad.leaked == 3
    assert bad.problems == (
        *("2 instances left", "1 processes left", "the webhook is off"),
        "a job waited 2.0 s, at most 2 s",
    )


def test_a_result_reads_back_from_its_json() -> None:
    bad = result(leaked={"instances": 1})
    body = bad.to_json()
    assert ChaosResult.of_json(body) == bad
    assert ChaosResult.of_json(body | {"trail": ["a"]}).trail == ("a",)


def test_a_run_that_broke_counts_nothing_and_is_not_ok() -> None:
    broken = broken_run("fault", 7, "no engine")
    assert (broken.ok, broken.problems) == (False, ("the run broke: no engine",))
    numbers = {name: value for name, value in broken.to_json().items() if name != "seed"}
    assert {value for value in numbers.values() if isinstance(value, int | float)} == {0}


def test_runs_of_a_fault_are_one_line_with_the_seed_of_the_worst() -> None:
    bad = result(seed=3, leaked={"instances": 2}, jobs=[], injected=0)
    slow = result(seed=2, jobs=[job(started_at=AT + timedelta(seconds=99))])
    (line,) = by_fault([slow, bad])
    total = line.total
    assert (total.seed, total.ok, total.longest_wait_s) == (3, False, 99.0)
    assert (line.runs, line.struck, total.stuck, total.leaked) == (2, 1, 1, 2)
