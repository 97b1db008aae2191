"""Jobs that name each other: `needs` and `dependencies`."""

from __future__ import annotations

import textwrap

import pytest

from local.gitlab.ci.file import CiError, JobSpec, read_pipeline


def jobs(text: str) -> dict[str, JobSpec]:
    read = read_pipeline(textwrap.dedent(text), variables={"CI_COMMIT_BRANCH": "main"})
    return {job.name: job for job in read.jobs}


def needed(job: JobSpec) -> list[str]:
    return [need.job for need in job.needs or ()]


def test_an_entry_with_parallel_is_needed_as_a_whole() -> None:
    read = jobs("""
        build: {script: x, parallel: 2}
        test: {script: x, needs: [build], dependencies: [build]}
    """)
    assert needed(read["test"]) == ["build 1/2", "build 2/2"]
    assert read["test"].dependencies == ("build 1/2", "build 2/2")


def test_one_of_a_matrix_can_be_needed() -> None:
    read = jobs("""
        build: {script: x, parallel: {matrix: [{OS: [linux, mac], BITS: 64}]}}
        test:
          script: x
          needs: [{job: build, artifacts: false, parallel: {matrix: [{OS: mac, BITS: 64}]}}]
        name: {script: x, needs: ["build: [linux, 64]"]}
    """)
    assert needed(read["test"]) == ["build: [mac, 64]"]
    assert [need.artifacts for need in read["test"].needs or ()] == [False]
    assert needed(read["name"]) == ["build: [linux, 64]"]


def test_an_optional_need_that_rules_left_out_is_dropped() -> None:
    read = jobs("""
        lint: {script: x, rules: [{if: $NOPE}]}
        test: {script: x, needs: [{job: lint, optional: true}], dependencies: [lint]}
    """)
    assert read["test"].needs == ()
    assert read["test"].dependencies == ()


def test_needs_may_point_to_the_same_stage_and_earlier_ones() -> None:
    read = jobs("""
        stages: [build, test]
        a: {stage: build, script: x}
        b: {stage: test, script: x, needs: [a, c], dependencies: [c]}
        c: {stage: test, script: x, needs: []}
    """)
    assert needed(read["b"]) == ["a", "c"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(
            "a:\n  script: x\n  needs: [ghost]",
            ".gitlab-ci.yml line 3: jobs:a:needs: needs 'ghost', but there is no such job",
            id="no such job",
        ),
        pytest.param(
            "a: {script: x, needs: [b]}\nb: {script: x, rules: [{if: $NOPE}]}",
            "jobs:a:needs: needs 'b', but rules left it out",
            id="left out",
        ),
        pytest.param(
            "a: {script: x, needs: [.b]}\n.b: {script: x}",
            "needs '.b', but there is no such job",
            id="hidden",
        ),
        pytest.param("a: {script: x, needs: [a]}", "go in a circle: a -> a", id="itself"),
        pytest.param(
            "x: {script: x, needs: [a]}\na: {script: x, needs: [b]}\n"
            "b: {script: x, needs: [c]}\nc: {script: x, needs: [a]}",
            "jobs:a:needs: go in a circle: a -> b -> c -> a",
            id="far round",
        ),
        pytest.param(
            "a: {script: x, dependencies: [ghost]}",
            "jobs:a:dependencies: there is no job 'ghost'",
            id="dependency",
        ),
        pytest.param(
            ".t: {needs: [ghost]}\na:\n  extends: .t\n  script: x",
            "line 1: jobs:a:needs: needs 'ghost'",
            id="inherited, so the line of the template",
        ),
    ],
)
def test_links_that_lead_nowhere(text: str, said: str) -> None:
    with pytest.raises(CiError) as caught:
        jobs(text)
    assert said in str(caught.value)


def test_a_rule_cannot_smuggle_in_a_need_that_does_not_exist() -> None:
    with pytest.raises(CiError, match="line 1: jobs:a:rules:needs: needs 'ghost'"):
        jobs("a: {script: x, rules: [{when: always, needs: [ghost]}]}")


def test_a_long_chain_is_no_circle() -> None:
    chain = [f"j{n}: {{script: x, needs: [j{n + 1}]}}" for n in range(1500)]
    assert len(jobs("\n".join([*chain, "j1500: {script: x}"]))) == 1501
