"""Drawn pipelines: repeatable, both back ends, and a CI file that GitLab reads as meant."""

import random

import pytest
import yaml

from local.chaos.pipeline import (
    ANY_END,
    FAILED,
    Planned,
    any_end,
    ci_file,
    draw_jobs,
    on_ec2,
    victim,
)

SEEDS = range(1, 60)


def drawn(seed: int) -> tuple[Planned, ...]:
    return draw_jobs(random.Random(seed))


def test_a_seed_draws_the_same_jobs_again() -> None:
    assert drawn(5) == drawn(5)
    assert len({drawn(seed) for seed in SEEDS}) == len(SEEDS)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_pipeline_asks_for_both_back_ends_and_is_small(seed: int) -> None:
    jobs = drawn(seed)
    assert {job.tag for job in jobs} == {"ec2", "lambda"}
    assert 4 <= len(jobs) <= 7
    assert len({job.name for job in jobs}) == len(jobs)
    assert jobs[-1].after[0] in {job.name for job in jobs[:-1] if job.ends != FAILED}
    assert all(job.seconds <= 2.0 for job in jobs)


def test_some_pipelines_have_a_job_that_fails() -> None:
    failing = [seed for seed in SEEDS if any(job.ends == FAILED for job in drawn(seed))]
    assert 5 <= len(failing) <= 30


def test_the_file_is_what_gitlab_reads() -> None:
    jobs = [victim("ec2", 8.5), Planned(name="b", tag="lambda", seconds=0.2, after=("victim",))]
    text = yaml.safe_load(ci_file(jobs)[".gitlab-ci.yml"])
    assert text["victim"]["tags"] == ["ec2"]
    assert text["victim"]["needs"] == []
    assert text["victim"]["script"][:2] == [
        "sleep 0.5",
        "for second in $(seq 8); do echo second $second; sleep 1; done",
    ]
    assert text["b"]["needs"] == ["victim"]
    assert text["b"]["allow_failure"] is False


def test_a_job_that_must_fail_fails_nothing_else() -> None:
    (text,) = ci_file([Planned(name="x", tag="ec2", seconds=0.1, ends=FAILED)]).values()
    job = yaml.safe_load(text)["x"]
    assert job["script"][-1] == "exit 3"
    assert job["allow_failure"] is True


def test_the_same_jobs_otherwise() -> None:
    assert {job.tag for job in on_ec2(drawn(1))} == {"ec2"}
    assert {job.ends for job in any_end(drawn(1))} == {ANY_END}
    assert [job.name for job in on_ec2(drawn(1))] == [job.name for job in drawn(1)]


def test_a_job_may_need_several() -> None:
    told = yaml.safe_load(Planned(name="a", tag="ec2", seconds=1.5, after=("b", "c")).to_yaml())
    assert told["a"]["needs"] == ["b", "c"]
    assert told["a"]["allow_failure"] is False
    assert told["a"]["script"][0] == "sleep 0.5"


def test_which_ends_there_are() -> None:
    assert frozenset({"failed"}) == FAILED
    assert frozenset({"success", "failed", "canceled", "skipped"}) == ANY_END
