"""The judge: what counts as stuck, leaked, killed at work, and wasted."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.chaos.gitlab_eye import JobSeen
from local.chaos.judge import (
    EndedMachines,
    Evidence,
    Lived,
    Row,
    broken_run,
    is_over,
    judge,
    unfinished,
)
from local.chaos.pipeline import ANY_END, FAILED, Planned

AT = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
PIPELINE = 3


def second(count: float) -> datetime:
    """So long after the start."""
    return AT + timedelta(seconds=count)


def planned(name: str = "one", **facts: Any) -> Planned:
    return Planned(name=name, tag="ec2", seconds=1.0, **facts)


def job(job_id: int = 1, name: str = "one", status: str = "success", **facts: Any) -> JobSeen:
    """A job that waited 2 s and ran 3 s on `rf-1`."""
    told: dict[str, Any] = {
        "tag": "ec2",
        "pipeline_id": PIPELINE,
        "runner": "rf-1",
        "failure_reason": None,
        "is_retried": False,
        "queued_at": AT,
        "started_at": second(2),
        "finished_at": second(5),
    }
    return JobSeen(id=job_id, name=name, status=status, **(told | facts))


def machine(number: int = 1, *, gone: float = 6) -> Lived:
    return Lived(
        runner_id=f"rf-{number}", machine_id=f"i-{number}", launched_at=AT, gone_at=second(gone)
    )


def evidence(**facts: Any) -> Evidence:
    told: dict[str, Any] = {
        "planned": [(PIPELINE, [planned()])],
        "jobs": [job()],
        "lived": [machine()],
        "ended": [],
        "dead": frozenset(),
        "cancelled": frozenset(),
        "leaked": {},
        "broken": (),
        "injected": 1,
        "seconds": 9.0,
    }
    return Evidence(**(told | facts))


def row(*, wait_at_most_s: float | None = None, **facts: Any) -> Row:
    return judge("fault", 7, evidence(**facts), wait_at_most_s=wait_at_most_s)


def test_a_good_run_is_counted_and_has_no_problem() -> None:
    told = row()
    assert told.ok
    assert (told.fault, told.seed, told.jobs, told.finished) == ("fault", 7, 1, 1)
    assert (told.longest_wait_s, told.launched, told.surplus_machine_s) == (2.0, 1, 1.0)
    assert (told.stuck, told.leaked, told.killed_busy) == (0, 0, 0)


# Stuck


@pytest.mark.parametrize("status", ["created", "pending", "running", "failed", "canceled"])
def test_a_job_that_did_not_end_as_it_must_is_stuck(status: str) -> None:
    told = row(jobs=[job(status=status, started_at=None)])
    assert (told.finished, told.stuck, told.ok) == (0, 1, False)
    assert told.problems == (f"one (job 1) is {status}, should be success",)


def test_the_reason_of_a_failure_is_told() -> None:
    told = row(jobs=[job(status="failed", failure_reason="runner_system_failure")])
    assert "failed, runner_system_failure" in told.problems[0]


def test_a_job_that_gitlab_never_made_is_stuck() -> None:
    assert row(jobs=[]).problems == ("one is missing, should be success",)


def test_the_newest_job_of_a_name_counts() -> None:
    lost = job(1, status="canceled", is_retried=True, runner="rf-dead")
    told = row(jobs=[lost, job(2)], dead=frozenset({"rf-dead"}))
    assert told.ok


def test_jobs_of_one_name_in_two_pipelines_are_two_jobs() -> None:
    told = row(planned=[(3, [planned()]), (4, [planned()])], jobs=[job()])
    assert (told.jobs, told.finished, told.stuck) == (2, 1, 1)


@pytest.mark.parametrize(
    ("ends", "status"), [(FAILED, "failed"), (ANY_END, "canceled"), (ANY_END, "skipped")]
)
def test_a_job_may_be_meant_to_end_otherwise(ends: frozenset[str], status: str) -> None:
    plan = planned(ends=ends)
    assert unfinished([(PIPELINE, [plan])], [job(status=status)]) == []


@pytest.mark.parametrize(("status", "over"), [("success", True), ("running", False)])
def test_last_states(status: str, over: bool) -> None:
    assert is_over(job(status=status)) is over


# Killed at work


def test_a_machine_that_the_fleet_ended_at_work_counts() -> None:
    told = row(ended=[EndedMachines(machine_ids=("i-1", "i-2"), at_work={1: "rf-1"})])
    assert told.killed_busy == 1
    assert told.problems == ("the fleet ended i-1 while job 1 ran on rf-1",)


@pytest.mark.parametrize("dead", ["i-1", "rf-1"])
def test_a_machine_that_was_dead_before_does_not(dead: str) -> None:
    told = row(
        ended=[EndedMachines(machine_ids=("i-1",), at_work={1: "rf-1"})], dead=frozenset({dead})
    )
    assert told.killed_busy == 0


@pytest.mark.parametrize("at_work", [{}, {1: "rf-2"}, {1: "rf-unknown"}, {1: ""}])
def test_a_machine_that_had_no_job_does_not(at_work: dict[int, str]) -> None:
    told = row(
        lived=[machine(1), machine(2)], ended=[EndedMachines(machine_ids=("i-1",), at_work=at_work)]
    )
    assert told.killed_busy == 0


def test_a_running_job_that_nobody_meant_to_cancel_was_killed_by_the_fleet() -> None:
    gone = job(1, status="canceled", is_retried=True)
    told = row(jobs=[gone, job(2)])
    assert told.killed_busy == 1
    assert told.problems == ("the fleet cancelled job 1 (one) on rf-1",)


@pytest.mark.parametrize(
    "excuse",
    [{"cancelled": frozenset({PIPELINE})}, {"dead": frozenset({"rf-1"})}],
)
def test_a_cancellation_by_a_person_or_on_a_dead_machine_is_none(excuse: dict[str, Any]) -> None:
    gone = job(1, status="canceled", is_retried=True)
    assert row(jobs=[gone, job(2, runner="rf-2")], **excuse).killed_busy == 0


# Cost


def test_a_machine_without_a_job_is_surplus_all_its_life() -> None:
    assert row(lived=[machine(1), machine(2, gone=10)]).surplus_machine_s == 11.0


def test_what_ended_with_its_job_is_no_surplus() -> None:
    assert row(lived=[machine(gone=4.9)]).surplus_machine_s == 0.0


def test_the_longest_wait_is_of_any_job_retried_ones_too() -> None:
    early = job(1, status="failed", is_retried=True, started_at=second(30), finished_at=second(40))
    never = job(3, name="never", started_at=None, finished_at=None)
    assert row(jobs=[early, job(2), never]).longest_wait_s == 30.0


def test_a_wait_beyond_the_promise_is_a_problem() -> None:
    assert row(wait_at_most_s=2.0).ok
    told = row(wait_at_most_s=1.9)
    assert told.problems == ("a job waited 2.0 s, at most 2 s",)


def test_everything_that_is_left_is_a_problem_of_its_own() -> None:
    told = row(leaked={"instances": 2, "messages": 0, "processes": 1})
    assert told.leaked == 3
    assert told.problems == ("2 instances left", "1 processes left")


def test_what_the_scenario_found_broken_is_a_problem() -> None:
    assert row(broken=("the webhook is off",)).problems == ("the webhook is off",)


# As JSON


def test_the_json_has_what_the_documentation_says_and_comes_back() -> None:
    told = row(leaked={"instances": 1})
    body = told.to_json()
    assert {
        "fault", "seed", "jobs", "finished", "longest_wait_s", "launched",
        "surplus_machine_s", "stuck", "leaked", "killed_busy",
    } <= set(body)  # fmt: skip
    assert "trail" not in body
    assert Row.of_json(body) == told
    assert Row.of_json(body | {"trail": ["a"]}).trail == ("a",)


# The rest of a row


def test_a_run_that_broke_counts_nothing_and_is_not_well() -> None:
    told = broken_run("fault", 7, "no engine")
    assert told.problems == ("the run broke: no engine",)
    assert not told.ok
    numbers = {name: value for name, value in told.to_json().items() if name != "seed"}
    assert {value for value in numbers.values() if isinstance(value, int | float)} == {0}


def test_a_job_never_taken_counts_as_no_wait_but_as_stuck() -> None:
    told = row(jobs=[job(status="pending", started_at=None, finished_at=None)])
    assert (told.longest_wait_s, told.stuck) == (0.0, 1)


@pytest.mark.parametrize(("at_most", "is_late"), [(2.0, False), (1.9, True)])
def test_a_wait_may_last_as_long_as_it_may(at_most: float, is_late: bool) -> None:
    told = row(wait_at_most_s=at_most)
    assert told.ok is not is_late
    if is_late:
        assert told.problems == ("a job waited 2.0 s, at most 2 s",)


def test_a_machine_of_two_jobs_is_surplus_after_the_last() -> None:
    jobs = [job(1), job(2, "two", finished_at=second(8))]
    told = row(
        planned=[(PIPELINE, [planned(), planned("two")])], jobs=jobs, lived=[machine(gone=10)]
    )
    assert told.surplus_machine_s == 2.0


def test_a_machine_that_was_gone_before_its_job_ended_is_no_surplus() -> None:
    assert row(lived=[machine(gone=3)]).surplus_machine_s == 0.0
