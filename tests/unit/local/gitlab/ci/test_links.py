"""Links between jobs: `needs` and `dependencies`."""

from __future__ import annotations

from local.gitlab.ci.types import JobSpec
from tests.unit.local.gitlab.ci.ci_text import read_jobs


def needed(job: JobSpec) -> list[str]:
    return [need.job for need in job.needs or ()]


def test_a_need_is_all_jobs_of_an_entry_or_those_of_a_matrix() -> None:
    jobs = read_jobs("""
        numbered: {script: x, parallel: 2}
        build: {script: x, parallel: {matrix: [{OS: [linux, mac], BITS: 64}]}}
        all: {script: x, needs: [numbered], dependencies: [numbered]}
        some:
          script: x
          needs: [{job: build, artifacts: false, parallel: {matrix: [{OS: mac, BITS: 64}]}}]
        name: {script: x, needs: ["build: [linux, 64]"]}
        own:
          script: x
          parallel: {matrix: [{OS: [mac]}]}
          needs: ["build: [$[[ matrix.OS ]], 64]"]
    """)
    assert needed(jobs["all"]) == ["numbered 1/2", "numbered 2/2"]
    assert jobs["all"].dependencies == ("numbered 1/2", "numbered 2/2")
    assert needed(jobs["some"]) == ["build: [mac, 64]"]
    assert [need.artifacts for need in jobs["some"].needs or ()] == [False]
    assert needed(jobs["name"]) == ["build: [linux, 64]"]
    assert needed(jobs["own: [mac]"]) == ["build: [mac, 64]"]


def test_links_to_a_job_that_rules_exclude_are_dropped() -> None:
    test = read_jobs("""
        lint: {script: x, rules: [{if: $NOPE}]}
        test: {script: x, needs: [{job: lint, optional: true}], dependencies: [lint]}
    """)["test"]
    assert (test.needs, test.dependencies) == ((), ())


def test_a_job_that_needs_a_trigger_waits_for_the_jobs_before_the_trigger() -> None:
    jobs = read_jobs("""
        first: {script: x, stage: build}
        child: {trigger: a/b}
        chosen: {trigger: a/b, needs: [child, first]}
        after: {script: x, stage: deploy, needs: [chosen]}
    """)
    assert needed(jobs["after"]) == ["first"]
