"""The values of jobs: keywords, defaults, variables, `parallel`, links and the workflow."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from local.gitlab.ci.types import (
    ArtifactSpec,
    CacheSpec,
    EnvironmentSpec,
    ImageSpec,
    JobSpec,
    NeedSpec,
    RetrySpec,
)
from tests.unit.local.gitlab.ci.ci_text import BRANCH, read, read_job, read_jobs

FILES = {"package-lock.json": "{}", "go.sum": "x"}
KEYWORDS = Path(__file__).with_name("keywords.txt").read_text().splitlines()
SPECS = {
    **{"artifacts": ArtifactSpec, "cache": CacheSpec, "environment": EnvironmentSpec},
    **{"image": ImageSpec, "services": ImageSpec, "needs": NeedSpec, "retry": RetrySpec},
}


def made(field: str, value: Any) -> Any:
    """The value of a field from its YAML; a map has what differs from the defaults."""
    if isinstance(value, list):
        return tuple(made(field, item) for item in value)
    return SPECS[field](**frozen(value)) if isinstance(value, dict) else value


def frozen(value: Any) -> Any:
    """With tuples for lists."""
    if isinstance(value, dict):
        return {key: frozen(item) for key, item in value.items()}
    return tuple(map(frozen, value)) if isinstance(value, list) else value


@pytest.mark.parametrize("case", KEYWORDS)
def test_a_keyword_gives_the_field_its_value(case: str) -> None:
    """A line of `keywords.txt`: entries of a job, and the field that they set."""
    body, _, expected = case.partition(" -> ")
    field, _, value = expected.partition(" ")
    assert getattr(read_job(body), field) == made(field, yaml.safe_load(value))


def test_a_job_of_a_script_alone_has_gitlabs_defaults() -> None:
    assert read_job("tags: []") == JobSpec(name="job", stage="test", script=("x",))


def test_the_key_of_a_cache_depends_on_the_content_of_its_files_alone() -> None:
    body = "cache: {key: {files: [package-lock.json, go.sum], prefix: $CI_JOB_NAME}, paths: [a]}"
    key = read_job(body, FILES).cache[0].key
    assert key.startswith("$CI_JOB_NAME-")
    assert read_job(body, {**FILES, "unrelated": "y"}).cache[0].key == key
    assert read_job(body, {**FILES, "go.sum": "y"}).cache[0].key != key


# --- defaults and variables


def test_variables_of_the_job_win_over_those_of_the_file_and_are_text() -> None:
    pipeline = read("""
        variables:
          SHARED: file
          NUMBER: 5
          RATIO: 1.5
          FLAG: true
          ASKED: {value: a, description: the question, options: [a, b]}
          UNSET: {description: x}
          RAW: {value: $SHARED, expand: false}
          EXPANDED: {value: $SHARED, expand: false}
        job:
          variables: {SHARED: job, OWN: mine, EXPANDED: $OWN}
          script: x
    """)
    assert pipeline.variables["SHARED"] == "file"
    (job,) = pipeline.jobs
    assert job.variables == {
        "SHARED": "job",
        "NUMBER": "5",
        "RATIO": "1.5",
        "FLAG": "true",
        "ASKED": "a",
        "UNSET": "",
        "RAW": "$SHARED",
        "EXPANDED": "$OWN",
        "OWN": "mine",
    }
    assert job.raw_variables == {"RAW"}


@pytest.mark.parametrize(
    ("inherit", "has_image", "names"),
    [
        ("{}", True, {"A", "B"}),
        ("{default: false}", False, {"A", "B"}),
        ("{default: [image]}", True, {"A", "B"}),
        ("{default: [tags]}", False, {"A", "B"}),
        ("{variables: false}", True, set()),
        ("{variables: [B]}", True, {"B"}),
        ("{default: true, variables: true}", True, {"A", "B"}),
    ],
)
def test_inherit_selects_defaults_and_variables(
    inherit: str, has_image: bool, names: set[str]
) -> None:
    job = read_jobs(f"""
        default: {{image: alpine}}
        variables: {{A: 1, B: 2}}
        job: {{inherit: {inherit}, script: x}}
    """)["job"]
    assert (job.image is not None, set(job.variables)) == (has_image, names)


# --- the file


@pytest.mark.parametrize(
    "text",
    [
        "job: {stage: .pre, script: x}",
        "job: {script: x, rules: [{if: $NOPE}]}",
        "workflow: {rules: [{if: $NOPE}]}\njob: {script: x}",
        "workflow: {rules: [{when: never}]}\njob: {script: x}",
    ],
)
def test_a_file_without_a_selected_job_makes_no_pipeline(text: str) -> None:
    assert read(text).jobs == ()


def test_the_workflow_names_the_pipeline_and_adds_variables() -> None:
    text = """
        variables: {MODE: slow, COLOUR: red}
        workflow:
          name: "$MODE on $CI_COMMIT_BRANCH"
          rules:
            - if: $CI_COMMIT_BRANCH == "main"
              variables: {MODE: fast}
            - when: always
        job: {script: x}
    """
    pipeline = read(text)
    assert (pipeline.name, pipeline.variables) == (
        "fast on main",
        {"MODE": "fast", "COLOUR": "red"},
    )
    assert pipeline.jobs[0].variables["MODE"] == "fast"
    other = read(text, variables={**BRANCH, "CI_COMMIT_BRANCH": "dev"})
    assert (other.name, len(other.jobs)) == ("slow on dev", 1)


# --- parallel


def test_a_matrix_makes_every_combination_in_order() -> None:
    jobs = read("""
        deploy:
          script: x
          variables: {PROVIDER: none, REGION: here}
          tags: [$PROVIDER]
          parallel:
            matrix:
              - PROVIDER: [aws, gcp]
                SIZE: [1, 2]
              - PROVIDER: own
    """).jobs
    assert [job.name.removeprefix("deploy: ") for job in jobs] == [
        *("[aws, 1]", "[aws, 2]", "[gcp, 1]", "[gcp, 2]", "[own]")
    ]
    assert jobs[1].variables == {"PROVIDER": "aws", "SIZE": "2", "REGION": "here"}
    assert jobs[4].variables == {"PROVIDER": "own", "REGION": "here"}
    assert [job.tags for job in jobs[2:]] == [("gcp",), ("gcp",), ("own",)]
    assert jobs[4].id_in_parallel == (5, 5)


# --- links between jobs


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


def test_links_to_excluded_jobs_are_dropped_and_a_trigger_stands_for_those_before_it() -> None:
    jobs = read_jobs("""
        lint: {script: x, rules: [{if: $NOPE}]}
        test: {script: x, needs: [{job: lint, optional: true}], dependencies: [lint]}
        first: {script: x, stage: build}
        child: {trigger: a/b}
        chosen: {trigger: a/b, needs: [child, first]}
        after: {script: x, stage: deploy, needs: [chosen]}
    """)
    assert (jobs["test"].needs, jobs["test"].dependencies) == ((), ())
    assert needed(jobs["after"]) == ["first"]
