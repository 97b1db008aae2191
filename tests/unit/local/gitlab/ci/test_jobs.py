"""The values of jobs: keywords, defaults, variables, `parallel` and the workflow."""

from __future__ import annotations

import pytest

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
IMAGE = "image: {name: a, entrypoint: [sh, ''], pull_policy: never}"
PULLED = ImageSpec(name="a", pull_policy=("always", "if-not-present"))
WITH_OPTIONS = ImageSpec(
    name="a", executor_options={"docker": {"user": "1001", "platform": "arm64"}}
)
SERVICES = """services: [redis, {name: "postgres:16", alias: db, command: [postgres, -c, '1'],
    entrypoint: [e], variables: {POSTGRES_DB: x, PORT: 1}}]"""
POSTGRES = ImageSpec(
    name="postgres:16",
    alias="db",
    command=("postgres", "-c", "1"),
    entrypoint=("e",),
    variables={"POSTGRES_DB": "x", "PORT": "1"},
)
REASONS = (
    *("always", "unknown_failure", "script_failure", "api_failure", "stuck_or_timeout_failure"),
    *("runner_system_failure", "runner_unsupported", "stale_schedule", "job_execution_timeout"),
    *("archived_failure", "unmet_prerequisites", "scheduler_failure", "data_integrity_failure"),
    "runner_interrupted",
)
ENVIRONMENT = """environment: {name: a, url: 'https://$X', action: verify, deployment_tier: testing,
    auto_stop_in: 1 day}"""
VERIFIED = EnvironmentSpec(
    name="a", url="https://$X", action="verify", tier="testing", auto_stop_in="1 day"
)
ARTIFACTS = """artifacts: {paths: [a], exclude: ['**/*.o'], untracked: true, when: always,
    expire_in: 1 week, name: $CI_JOB_NAME}"""
KEPT = ArtifactSpec(
    name="$CI_JOB_NAME",
    paths=("a",),
    exclude=("**/*.o",),
    untracked=True,
    when="always",
    expire_in="1 week",
)
REPORTS = """artifacts: {reports: {junit: [a.xml, b.xml], dotenv: build.env,
    coverage_report: {coverage_format: cobertura, path: c.xml}}}"""
REPORTED = ArtifactSpec(
    reports={"junit": ("a.xml", "b.xml"), "dotenv": ("build.env",), "cobertura": ("c.xml",)}
)
CACHE = """cache: {key: $CI_COMMIT_REF_SLUG, paths: [a], untracked: true, policy: pull,
    when: on_failure, fallback_keys: [main, other], unprotect: true}"""
CACHED = CacheSpec(
    key="$CI_COMMIT_REF_SLUG",
    paths=("a",),
    untracked=True,
    policy="pull",
    when="on_failure",
    fallback_keys=("main", "other"),
    unprotect=True,
)

KEYWORDS = [
    ("before_script: [a, [b]]", "script", ("a", "b", "x")),
    ("before_script: a", "script", ("a", "x")),
    ("after_script: [d]", "after_script", ("d",)),
    ("hooks: {pre_get_sources_script: [a, b]}", "before_sources", ("a", "b")),
    ("image: alpine", "image", ImageSpec(name="alpine")),
    (IMAGE, "image", ImageSpec(name="a", entrypoint=("sh", ""), pull_policy=("never",))),
    ("image: {name: a, pull_policy: [always, if-not-present]}", "image", PULLED),
    ("image: {name: a, docker: {user: '1001', platform: arm64}}", "image", WITH_OPTIONS),
    (SERVICES, "services", (ImageSpec(name="redis"), POSTGRES)),
    ("retry: 2", "retry", RetrySpec(max=2, when=("always",))),
    ("retry: {when: always}", "retry", RetrySpec(max=0)),
    ("retry: {max: 1, when: api_failure}", "retry", RetrySpec(max=1, when=("api_failure",))),
    (f"retry: {{when: [{', '.join(REASONS)}]}}", "retry", RetrySpec(when=REASONS)),
    ("retry: {exit_codes: [137, 255]}", "retry", RetrySpec(when=(), exit_codes=(137, 255))),
    ("needs: []", "needs", ()),
    ("needs: [other]", "needs", (NeedSpec(job="other"),)),
    ("needs: {job: other}", "needs", (NeedSpec(job="other"),)),
    ("needs: [{job: other, artifacts: false}]", "needs", (NeedSpec(job="other", artifacts=False),)),
    ("needs: [{job: other, optional: true}]", "needs", (NeedSpec(job="other", optional=True),)),
    ("needs: [{job: ghost, optional: true}]", "needs", ()),
    ("allow_failure: true", "allow_failure", True),
    ("allow_failure: false", "allow_failure", False),
    ("allow_failure: {exit_codes: 137}", "allow_failure", False),
    ("allow_failure: {exit_codes: 137}", "allow_failure_exit_codes", (137,)),
    ("allow_failure: {exit_codes: [1, 300]}", "allow_failure_exit_codes", (1, 300)),
    ("environment: review/$UNKNOWN", "environment", EnvironmentSpec(name="review/$UNKNOWN")),
    ("environment: a/$CI_COMMIT_BRANCH", "environment", EnvironmentSpec(name="a/main")),
    (ENVIRONMENT, "environment", VERIFIED),
    ("variables: {POOL: big}, tags: [$POOL, x]", "tags", ("big", "x")),
    ("resource_group: a-$CI_COMMIT_BRANCH", "resource_group", "a-main"),
    ("artifacts: {}", "artifacts", ()),
    ("artifacts: {untracked: false}", "artifacts", (ArtifactSpec(),)),
    ("artifacts: {expire_in: never}", "artifacts", (ArtifactSpec(expire_in="never"),)),
    (ARTIFACTS, "artifacts", (KEPT,)),
    (REPORTS, "artifacts", (REPORTED,)),
    ("pages: {publish: dist}", "artifacts", (ArtifactSpec(paths=("dist",)),)),
    ("pages: true, artifacts: {paths: [public]}", "artifacts", (ArtifactSpec(paths=("public",)),)),
    ("pages: true, artifacts: {paths: [a]}", "artifacts", (ArtifactSpec(paths=("a", "public")),)),
    ("cache: {}", "cache", ()),
    ("cache: []", "cache", ()),
    ("cache: {paths: [a], untracked: false}", "cache", (CacheSpec(paths=("a",)),)),
    (CACHE, "cache", (CACHED,)),
    ("cache: [{key: one}, {key: two}]", "cache", (CacheSpec(key="one"), CacheSpec(key="two"))),
    ("variables: {POLICY: pull}, cache: {policy: $POLICY}", "cache", (CacheSpec(policy="pull"),)),
    ("cache: {key: {files: [nope]}}", "cache", (CacheSpec(key="default"),)),
    ("cache: {key: {files: [nope], prefix: p}}", "cache", (CacheSpec(key="p-default"),)),
]


@pytest.mark.parametrize(
    ("body", "field", "value"), KEYWORDS, ids=[f"{row[1]}-{row[0][:40]}" for row in KEYWORDS]
)
def test_a_keyword_gives_the_field_its_value(body: str, field: str, value: object) -> None:
    assert getattr(read_job(body), field) == value


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
