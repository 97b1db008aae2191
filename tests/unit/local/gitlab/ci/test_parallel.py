"""`parallel`: one entry, many jobs."""

from __future__ import annotations

import pytest

from local.gitlab.ci.file import CiError, JobSpec, read_pipeline


def jobs(text: str) -> tuple[JobSpec, ...]:
    return read_pipeline(text, variables={}).jobs


def test_a_number_makes_numbered_jobs() -> None:
    read = jobs("test: {script: x, parallel: 3}")
    assert [job.name for job in read] == ["test 1/3", "test 2/3", "test 3/3"]
    assert [job.id_in_parallel for job in read] == [(1, 3), (2, 3), (3, 3)]


def test_without_parallel_a_job_has_no_place() -> None:
    assert jobs("test: {script: x}")[0].id_in_parallel is None


def test_a_matrix_makes_every_combination_in_order() -> None:
    text = """
deploy:
  script: x
  variables: {PROVIDER: nobody, REGION: nowhere}
  tags: [$PROVIDER]
  parallel:
    matrix:
      - PROVIDER: [aws, gcp]
        SIZE: [1, 2]
      - PROVIDER: own
"""
    read = jobs(text)
    assert [job.name for job in read] == [
        "deploy: [aws, 1]",
        "deploy: [aws, 2]",
        "deploy: [gcp, 1]",
        "deploy: [gcp, 2]",
        "deploy: [own]",
    ]
    assert read[1].variables == {"PROVIDER": "aws", "SIZE": "2", "REGION": "nowhere"}
    assert read[4].variables == {"PROVIDER": "own", "REGION": "nowhere"}
    assert [job.tags for job in read[2:]] == [("gcp",), ("gcp",), ("own",)]
    assert read[4].id_in_parallel == (5, 5)


def test_rules_see_the_matrix() -> None:
    text = """
build:
  script: x
  parallel: {matrix: [{OS: [linux, mac]}]}
  rules: [{if: $OS == "mac"}]
"""
    assert [job.name for job in jobs(text)] == ["build: [mac]"]


@pytest.mark.parametrize(
    ("parallel", "said"),
    [
        ("0", "whole number from 1 to 200"),
        ("201", "whole number from 1 to 200"),
        ("two", "whole number"),
        ("{}", "matrix is missing"),
        ("{matrix: []}", "the matrix must make from 1 to 200 jobs, not 0"),
        ("{matrix: [{}]}", "not 0"),
        ("{matrix: {A: [1]}}", "must be a list"),
        ("{matrix: [{A: {}}]}", "must be a string or a number"),
        (f"{{matrix: [{{A: {list(range(15))}, B: {list(range(15))}}}]}}", "not 225"),
    ],
)
def test_parallel_that_makes_no_sense(parallel: str, said: str) -> None:
    with pytest.raises(CiError, match="line 1: jobs:a:parallel") as caught:
        jobs(f"a: {{script: x, parallel: {parallel}}}")
    assert said in str(caught.value)
