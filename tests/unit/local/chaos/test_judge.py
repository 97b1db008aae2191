"""The judge: what counts as stuck, leaked, killed at work, and wasted."""

from dataclasses import replace
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


JOB = JobSeen(
    id=1,
    name="one",
    status="success",
    tag="ec2",
    pipeline_id=PIPELINE,
    runner="rf-1",
    failure_reason=None,
    is_retried=False,
    queued_at=AT,
    started_at=second(2),
    finished_at=second(5),
)


def job(**facts: Any) -> JobSeen:
    """A job that waited 2 s and ran 3 s on `rf-1`."""
    return replace(JOB, **facts)


def machine(number: int = 1, *, gone: float = 6) -> Lived:
    return Lived(
        runner_id=f"rf-{number}", machine_id=f"i-{number}", launched_at=AT, gone_at=second(gone)
    )


GOOD = Evidence(
    planned=[(PIPELINE, [planned()])],
    jobs=[job()],
    lived=[machine()],
    ended=[],
    dead=frozenset(),
    cancelled=frozenset(),
    leaked={},
    broken=(),
    injected=1,
    seconds=9.0,
)


def row(*, wait_at_most_s: float | None = None, **facts: Any) -> Row:
    return judge("fault", 7, replace(GOOD, **facts), wait_at_most_s=wait_at_most_s)


def test_a_good_run_is_counted_and_has_no_problem() -> None:
    good = row()
    assert good.ok
    assert (good.fault, good.seed, good.jobs, good.finished) == ("fault", 7, 1, 1)
    assert (good.longest_wait_s, good.launched, good.surplus_machine_s) == (2.0, 1, 1.0)
    assert (good.stuck, good.leaked, good.killed_busy) == (0, 0, 0)


NOT_TAKEN = {"started_at": None, "finished_at": None}


@pytest.mark.parametrize(
    ("jobs", "problem"),
    [
        *(
            ([job(status=status, **NOT_TAKEN)], f"one (job 1) is {status}, should be success")
            for status in ("created", "pending", "running", "failed", "canceled")
        ),
        (
            [job(status="failed", failure_reason="runner_system_failure")],
            "one (job 1) is failed, runner_system_failure, should be success",
        ),
        ([], "one is missing, should be success"),
    ],
)
def test_a_job_that_did_not_end_as_it_must_is_stuck(jobs: list[JobSeen], problem: str) -> None:
    bad = row(jobs=jobs)
    assert (bad.finished, bad.stuck, bad.ok, bad.problems) == (0, 1, False, (problem,))


def test_the_newest_job_of_a_name_counts() -> None:
    lost = job(status="canceled", is_retried=True, runner="rf-dead")
    assert row(jobs=[lost, job(id=2)], dead=frozenset({"rf-dead"})).ok


def test_jobs_of_one_name_in_two_pipelines_are_two_jobs() -> None:
    both = row(planned=[(3, [planned()]), (4, [planned()])], jobs=[job()])
    assert (both.jobs, both.finished, both.stuck) == (2, 1, 1)


@pytest.mark.parametrize(
    ("ends", "status"), [(FAILED, "failed"), (ANY_END, "canceled"), (ANY_END, "skipped")]
)
def test_a_job_may_be_meant_to_end_otherwise(ends: frozenset[str], status: str) -> None:
    assert unfinished([(PIPELINE, [planned(ends=ends)])], [job(status=status)]) == []


@pytest.mark.parametrize(("status", "over"), [("success", True), ("running", False)])
def test_last_states(status: str, over: bool) -> None:
    assert is_over(job(status=status)) is over


AT_WORK = [EndedMachines(machine_ids=("i-1", "i-2"), at_work={1: "rf-1"})]
CANCELLED = [job(status="canceled", is_retried=True), job(id=2)]


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        pytest.param(
            {"ended": AT_WORK}, "the fleet ended i-1 while job 1 ran on rf-1", id="its machine"
        ),
        pytest.param(
            {"jobs": CANCELLED}, "the fleet cancelled job 1 (one) on rf-1", id="the job itself"
        ),
    ],
)
def test_a_job_that_the_fleet_ended_at_work_counts(facts: dict[str, Any], problem: str) -> None:
    bad = row(**facts)
    assert (bad.killed_busy, bad.problems) == (1, (problem,))


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param({"ended": AT_WORK, "dead": frozenset({"i-1"})}, id="a dead machine"),
        pytest.param({"ended": AT_WORK, "dead": frozenset({"rf-1"})}, id="a dead runner"),
        *(
            pytest.param(
                {
                    "lived": [machine(1), machine(2)],
                    "ended": [EndedMachines(machine_ids=("i-1",), at_work=at_work)],
                },
                id=f"no job there: {at_work}",
            )
            for at_work in ({}, {1: "rf-2"}, {1: "rf-unknown"}, {1: ""})
        ),
        pytest.param(
            {"jobs": CANCELLED, "cancelled": frozenset({PIPELINE})}, id="cancelled by a person"
        ),
        pytest.param(
            {"jobs": [CANCELLED[0], job(id=2, runner="rf-2")], "dead": frozenset({"rf-1"})},
            id="cancelled on a dead machine",
        ),
    ],
)
def test_no_other_end_counts_as_killed(facts: dict[str, Any]) -> None:
    assert row(**facts).killed_busy == 0


@pytest.mark.parametrize(
    ("facts", "surplus_s"),
    [
        pytest.param({"lived": [machine(1), machine(2, gone=10)]}, 11.0, id="all a life, no job"),
        pytest.param({"lived": [machine(gone=4.9)]}, 0.0, id="gone before its job's end"),
        pytest.param(
            {
                "planned": [(PIPELINE, [planned(), planned("two")])],
                "jobs": [job(), job(id=2, name="two", finished_at=second(8))],
                "lived": [machine(gone=10)],
            },
            2.0,
            id="after the last of two jobs",
        ),
    ],
)
def test_surplus_is_the_time_after_the_last_job(facts: dict[str, Any], surplus_s: float) -> None:
    assert row(**facts).surplus_machine_s == surplus_s


def test_the_longest_wait_is_of_any_job_that_was_taken() -> None:
    early = job(status="failed", is_retried=True, started_at=second(30), finished_at=second(40))
    never = job(id=3, name="never", **NOT_TAKEN)
    assert row(jobs=[early, job(id=2), never]).longest_wait_s == 30.0
    assert row(jobs=[job(status="pending", **NOT_TAKEN)]).longest_wait_s == 0.0


def test_a_wait_beyond_the_promise_is_a_problem() -> None:
    assert row(wait_at_most_s=2.0).ok
    assert row(wait_at_most_s=1.9).problems == ("a job waited 2.0 s, at most 2 s",)


def test_each_kind_of_leak_and_each_broken_promise_is_a_problem() -> None:
    bad = row(
        leaked={"instances": 2, "messages": 0, "processes": 1}, broken=("the webhook is off",)
    )
    assert bad.leaked == 3
    assert bad.problems == ("2 instances left", "1 processes left", "the webhook is off")


def test_the_json_has_the_documented_keys_and_reads_back() -> None:
    bad = row(leaked={"instances": 1})
    body = bad.to_json()
    assert {
        "fault", "seed", "jobs", "finished", "longest_wait_s", "launched",
        "surplus_machine_s", "stuck", "leaked", "killed_busy",
    } <= set(body)  # fmt: skip
    assert "trail" not in body
    assert Row.of_json(body) == bad
    assert Row.of_json(body | {"trail": ["a"]}).trail == ("a",)


def test_a_run_that_broke_counts_nothing_and_is_not_ok() -> None:
    broken = broken_run("fault", 7, "no engine")
    assert (broken.ok, broken.problems) == (False, ("the run broke: no engine",))
    numbers = {name: value for name, value in broken.to_json().items() if name != "seed"}
    assert {value for value in numbers.values() if isinstance(value, int | float)} == {0}
