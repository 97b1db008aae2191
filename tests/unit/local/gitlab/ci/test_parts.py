"""The parts of a job with a shape of their own: images, retry, needs, environment."""

from __future__ import annotations

import pytest

from local.gitlab.ci.file import (
    CiError,
    EnvironmentSpec,
    ImageSpec,
    JobSpec,
    NeedSpec,
    RetrySpec,
    read_pipeline,
)
from local.gitlab.ci.keywords import Variables


def job(body: str) -> JobSpec:
    text = f"job: {{script: x, {body}}}\nother: {{script: x}}"
    return read_pipeline(text, variables={"CI_COMMIT_BRANCH": "main"}).jobs[0]


@pytest.mark.parametrize(
    ("body", "image"),
    [
        ("image: alpine", ImageSpec(name="alpine")),
        ("image: {name: alpine}", ImageSpec(name="alpine")),
        ("image: {name: a, entrypoint: [sh, '']}", ImageSpec(name="a", entrypoint=("sh", ""))),
        ("image: {name: a, pull_policy: never}", ImageSpec(name="a", pull_policy=("never",))),
        (
            "image: {name: a, pull_policy: [always, if-not-present]}",
            ImageSpec(name="a", pull_policy=("always", "if-not-present")),
        ),
    ],
)
def test_image(body: str, image: ImageSpec) -> None:
    assert job(body).image == image


def test_services_have_more_to_say_than_images() -> None:
    plain, full = job("""services: [redis, {
        name: "postgres:16", alias: db, command: [postgres, -c, '1'],
        entrypoint: [e], variables: {POSTGRES_DB: x, PORT: 1}}]""").services
    assert plain == ImageSpec(name="redis")
    assert full == ImageSpec(
        name="postgres:16",
        alias="db",
        command=("postgres", "-c", "1"),
        entrypoint=("e",),
        variables={"POSTGRES_DB": "x", "PORT": "1"},
    )


@pytest.mark.parametrize(
    ("body", "retry"),
    [
        ("tags: []", RetrySpec(max=0, when=("always",))),
        ("retry: 2", RetrySpec(max=2, when=("always",))),
        (
            "retry: {max: 1, when: runner_system_failure}",
            RetrySpec(max=1, when=("runner_system_failure",)),
        ),
        (
            "retry: {max: 2, when: [script_failure, api_failure]}",
            RetrySpec(max=2, when=("script_failure", "api_failure")),
        ),
        ("retry: {when: always}", RetrySpec(max=0)),
    ],
)
def test_retry(body: str, retry: RetrySpec) -> None:
    assert job(body).retry == retry


@pytest.mark.parametrize(
    ("body", "needs"),
    [
        ("tags: []", None),
        ("needs: []", ()),
        ("needs: [other]", (NeedSpec(job="other"),)),
        ("needs: [{job: other, artifacts: false}]", (NeedSpec(job="other", artifacts=False),)),
        (
            "needs: [{job: other, optional: true}]",
            (NeedSpec(job="other", optional=True),),
        ),
        ("needs: [{job: nobody, optional: true}]", ()),
    ],
)
def test_needs(body: str, needs: tuple[NeedSpec, ...] | None) -> None:
    assert job(body).needs == needs


@pytest.mark.parametrize(
    ("body", "allowed", "codes"),
    [
        ("allow_failure: true", True, ()),
        ("allow_failure: false", False, ()),
        ("allow_failure: {exit_codes: 137}", False, (137,)),
        ("allow_failure: {exit_codes: [1, 255]}", False, (1, 255)),
    ],
)
def test_allow_failure(body: str, allowed: bool, codes: tuple[int, ...]) -> None:
    read = job(body)
    assert (read.allow_failure, read.allow_failure_exit_codes) == (allowed, codes)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("environment: production", EnvironmentSpec(name="production")),
        (
            "environment: {name: a, url: 'https://$X', action: verify, deployment_tier: testing, "
            "auto_stop_in: 1 day}",
            EnvironmentSpec(
                name="a", url="https://$X", action="verify", tier="testing", auto_stop_in="1 day"
            ),
        ),
        ("environment: review/$CI_COMMIT_BRANCH", EnvironmentSpec(name="review/main")),
        ("environment: review/$UNKNOWN", EnvironmentSpec(name="review/$UNKNOWN")),
    ],
)
def test_environment(body: str, expected: EnvironmentSpec) -> None:
    assert job(body).environment == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", ("conservative", "none")),
        ("workflow: {auto_cancel: {on_new_commit: none}}", ("none", "none")),
        (
            "workflow: {auto_cancel: {on_new_commit: interruptible, on_job_failure: all}}",
            ("interruptible", "all"),
        ),
    ],
)
def test_what_cancels_a_pipeline(said: str, expected: tuple[str, str]) -> None:
    read = read_pipeline(f"{said}\njob: {{script: [x]}}", variables={})
    assert (read.cancels_on_new_commit, read.cancels_on_job_failure) == expected


def test_what_the_server_expands_itself() -> None:
    read = job("variables: {POOL: big}, tags: [$POOL, x], resource_group: $POOL-$CI_COMMIT_BRANCH")
    assert read.tags == ("big", "x")
    assert read.resource_group == "big-main"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("image: {entrypoint: [a]}", "jobs:job:image: name is missing"),
        ("image: {name: a, pull_policy: seldom}", "jobs:job:image:pull_policy: must be one of"),
        ("image: [a]", "jobs:job:image: must be a string"),
        ("services: redis", "jobs:job:services: must be a list"),
        ("services: [{name: a, ports: [1]}]", "unsupported key 'ports'"),
        ("retry: 3", "jobs:job:retry: must be a whole number from 0 to 2"),
        ("retry: true", "must be a whole number"),
        ("retry: {when: bad_luck}", "jobs:job:retry:when: must be one of always"),
        ("needs: other", "jobs:job:needs: must be a list"),
        ("needs: [{artifacts: true}]", "jobs:job:needs: job is missing"),
        ("allow_failure: {}", "jobs:job:allow_failure: exit_codes is missing"),
        ("environment: {url: x}", "jobs:job:environment: name is missing"),
        ("environment: {name: x, url: 5}", "jobs:job:environment:url: must be a string"),
        ("resource_group: ''", "jobs:job:resource_group: must be a string"),
        ("variables: {A: {value: 1, expand: maybe}}", "A:expand: must be true or false"),
    ],
)
def test_wrong_parts_are_named(body: str, said: str) -> None:
    with pytest.raises(CiError) as caught:
        job(body)
    assert said in str(caught.value)


def test_a_variable_laid_over_a_raw_one_is_as_raw_as_it_says() -> None:
    under = Variables(values={"A": "1", "B": "2"}, raw=frozenset({"A", "B"}))
    over = Variables(values={"B": "3", "C": "4"}, raw=frozenset({"C"}))
    both = under.under(over)
    assert both.values == {"A": "1", "B": "3", "C": "4"}
    assert both.raw == frozenset({"A", "C"})


@pytest.mark.parametrize(
    "reason",
    [
        *("always", "unknown_failure", "script_failure", "api_failure"),
        *("stuck_or_timeout_failure", "runner_system_failure", "runner_unsupported"),
        *("stale_schedule", "job_execution_timeout", "archived_failure"),
        *("unmet_prerequisites", "scheduler_failure", "data_integrity_failure"),
        "runner_interrupted",
    ],
)
def test_a_retry_may_be_for_each_of_gitlabs_reasons(reason: str) -> None:
    text = f"unit: {{script: x, retry: {{max: 1, when: {reason}}}}}"
    (job,) = read_pipeline(text, variables={}).jobs
    assert job.retry.when == (reason,)


def test_a_variable_may_have_a_description_and_no_value() -> None:
    text = "variables: {A: {description: x}, B: {value: true}}\nunit: {script: x}"
    (job,) = read_pipeline(text, variables={}).jobs
    assert dict(job.variables) == {"A": "", "B": "true"}


def test_untracked_may_be_said_to_be_unwanted() -> None:
    text = (
        "unit: {script: x, artifacts: {paths: [a], untracked: false},"
        " cache: {paths: [a], untracked: false}}"
    )
    (job,) = read_pipeline(text, variables={}).jobs
    assert not job.artifacts[0].untracked
    assert not job.cache[0].untracked


@pytest.mark.parametrize(("count", "is_taken"), [(4, True), (5, False)])
def test_four_caches_and_no_more(count: int, is_taken: bool) -> None:
    caches = ", ".join(f"{{key: k{n}, paths: [p]}}" for n in range(count))
    text = f"unit: {{script: x, cache: [{caches}]}}"
    if is_taken:
        assert len(read_pipeline(text, variables={}).jobs[0].cache) == 4
    else:
        with pytest.raises(CiError, match="may have 4 caches at most"):
            read_pipeline(text, variables={})


@pytest.mark.parametrize(("count", "is_taken"), [(200, True), (201, False)])
def test_two_hundred_jobs_of_a_matrix_and_no_more(count: int, is_taken: bool) -> None:
    text = f"unit: {{script: x, parallel: {{matrix: [{{N: {list(range(count))}}}]}}}}"
    if is_taken:
        assert len(read_pipeline(text, variables={}).jobs) == 200
    else:
        with pytest.raises(CiError, match="from 1 to 200 jobs, not 201"):
            read_pipeline(text, variables={})
