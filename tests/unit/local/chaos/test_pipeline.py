"""Drawn pipelines: repeatable, both back ends, and a CI file that GitLab reads as meant."""

import random

import yaml

from local.chaos.pipeline import FAILED, Planned, any_end, ci_file, draw_jobs, on_ec2, victim

SEEDS = range(1, 60)


def drawn(seed: int) -> tuple[Planned, ...]:
    return draw_jobs(random.Random(seed))


def test_a_seed_draws_the_same_jobs_again() -> None:
    assert drawn(5) == drawn(5)
    assert len({drawn(seed) for seed in SEEDS}) == len(SEEDS)


def test_every_pipeline_asks_for_both_back_ends_and_is_small() -> None:
    for seed in SEEDS:
        jobs = drawn(seed)
        assert {job.tag for job in jobs} == {"ec2", "lambda"}
        assert 4 <= len(jobs) <= 7
        assert len({job.name for job in jobs}) == len(jobs)
        assert jobs[-1].after[0] in {job.name for job in jobs[:-1] if job.ends != FAILED}
        assert all(job.seconds <= 2.0 for job in jobs)
    assert 5 <= sum(any(job.ends == FAILED for job in drawn(seed)) for seed in SEEDS) <= 30


def test_the_file_reads_as_the_jobs_were_planned() -> None:
    (text,) = ci_file(
        [
            victim("ec2", 8.5),
            Planned(name="b", tag="lambda", seconds=1.5, after=("victim", "a")),
            Planned(name="x", tag="ec2", seconds=0.1, ends=FAILED),
        ]
    ).values()
    file = yaml.safe_load(text)
    assert file["victim"]["tags"] == ["ec2"]
    assert file["victim"]["needs"] == []
    assert file["victim"]["script"][:2] == [
        "sleep 0.5",
        "for second in $(seq 8); do echo second $second; sleep 1; done",
    ]
    assert file["b"]["needs"] == ["victim", "a"]
    assert file["b"]["allow_failure"] is False
    assert file["x"]["script"][-1] == "exit 3"
    assert file["x"]["allow_failure"] is True, "it fails nothing else"


def test_the_same_jobs_for_ec2_alone_or_with_any_end() -> None:
    assert {job.tag for job in on_ec2(drawn(1))} == {"ec2"}
    assert [job.name for job in on_ec2(drawn(1))] == [job.name for job in drawn(1)]
    every = frozenset({"success", "failed", "canceled", "skipped"})
    assert {job.ends for job in any_end(drawn(1))} == {every}
