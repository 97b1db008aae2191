"""The nouns: the order of statuses, keys as text, and what the derived facts say."""

import pytest

from fleet.model import JobKey, JobStatus, RunnerState, ScalePlan, rank
from fleet.reasons import Reason
from tests.unit.fleet.facts import idle, jobs, runner, snapshot

# Every status word of GitLab, in the order of a job's life. Source: GitLab's `Ci::HasStatus`.
WORDS = {
    JobStatus.CREATED: (
        "created preparing manual scheduled waiting_for_resource waiting_for_callback"
    ),
    JobStatus.PENDING: "pending",
    JobStatus.RUNNING: "running canceling",
    JobStatus.FINISHED: "success failed canceled skipped",
}


@pytest.mark.parametrize("status", JobStatus)
def test_ranks_gitlabs_words(status: JobStatus) -> None:
    assert {rank(word) for word in WORDS[status].split()} == {status}


def test_an_unknown_word_overwrites_nothing() -> None:
    assert rank("renamed_in_19_9") is JobStatus.CREATED


def test_the_ledger_may_store_a_status_as_its_number() -> None:
    assert [int(status) for status in JobStatus] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "instance", ["gitlab.example.com", "gitlab.example.com:8443", "odd#host", ""]
)
def test_a_key_is_read_back_as_it_was_written(instance: str) -> None:
    key = JobKey(instance=instance, job_id=90210)
    assert str(key) == f"{instance}#90210"
    assert JobKey.parse(str(key)) == key


@pytest.mark.parametrize("text", ["", "gitlab.example.com", "gitlab.example.com#", "x#y"])
def test_a_key_without_a_number_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        JobKey.parse(text)


def test_keys_have_an_order() -> None:
    keys = [JobKey(instance="b", job_id=1), JobKey(instance="a", job_id=10)]
    assert sorted([*keys, JobKey(instance="a", job_id=9)]) == [
        JobKey(instance="a", job_id=9),
        JobKey(instance="a", job_id=10),
        JobKey(instance="b", job_id=1),
    ]


def test_what_counts_as_there_for_a_job() -> None:
    there = {RunnerState.REQUESTED, RunnerState.IN_FLIGHT, RunnerState.IDLE}
    assert {state for state in RunnerState if runner("r", state).covers} == there


def test_everything_that_is_alive_counts_for_the_size() -> None:
    runners = [runner(state.value, state) for state in RunnerState]
    assert snapshot(jobs(9), *runners).size == len(RunnerState)
    assert snapshot(jobs(9)).size == 0
    assert snapshot((), *idle(2)).size == 2


def test_a_plan_launches_for_its_jobs_and_its_warm_ones() -> None:
    assert ScalePlan(reason=Reason.BACKLOG, launch=jobs(3), warm=2).launches == 5
