"""Predefined variables of pipelines and jobs, and their precedence."""

import re
from typing import Any

import pytest

from local.gitlab.ci.types import EnvironmentSpec, ImageSpec
from local.gitlab.environments import environment_slug
from local.gitlab.model import Job
from local.gitlab.variables import GitLabInstance, job_variables, pipeline_variables
from tests.unit.local.gitlab.small_gitlab import SHA, SmallGitLab, commit, job_spec

BASE = "http://127.0.0.1:8929"
GITLAB = GitLabInstance(base_url=BASE, version="19.3.1-ee")


COMMIT = {
    "SHA": SHA,
    "SHORT_SHA": SHA[:8],
    "TITLE": "Speed up tests",
    "DESCRIPTION": "They were slow.",
    "AUTHOR": "Dana Roe <dana@example.com>",
    "REF_PROTECTED": "true",
}


def of_job(site: SmallGitLab, **rest: Any) -> dict[str, str]:
    site.start(job_spec(rest.pop("name", "unit"), **rest))
    job = site.take()
    assert job is not None
    return texts(job)


def texts(job: Job) -> dict[str, str]:
    return {key: variable.value for key, variable in job_variables(job, GITLAB).items()}


def of_pipeline(gitlab: GitLabInstance = GITLAB, **rest: Any) -> dict[str, str]:
    return pipeline_variables(SmallGitLab().request(**rest), gitlab)


def named(text: str) -> dict[str, str]:
    """The variables in a text of `NAME=value`."""
    return dict(word.split("=", 1) for word in text.split())


@pytest.mark.parametrize(
    ("request_", "expected", "absent"),
    [
        (
            {"ref": "feature/x"},
            """CI_COMMIT_BRANCH=feature/x CI_COMMIT_REF_NAME=feature/x CI_COMMIT_REF_SLUG=feature-x
            CI_COMMIT_REF_PROTECTED=false CI_PIPELINE_SOURCE=push""",
            "CI_COMMIT_TAG",
        ),
        ({"ref": "v1.0", "is_tag": True}, "CI_COMMIT_TAG=v1.0", "CI_COMMIT_BRANCH"),
    ],
)
def test_a_pipeline_knows_its_ref(request_: dict[str, Any], expected: str, absent: str) -> None:
    variables = of_pipeline(**request_)
    assert named(expected).items() <= variables.items()
    assert absent not in variables


def test_a_pipeline_knows_its_commit() -> None:
    variables = of_pipeline(commit=commit("Speed up tests\n\nThey were slow.\n"))
    assert {name: variables[f"CI_COMMIT_{name}"] for name in COMMIT} == COMMIT


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        (BASE, ("8929", "http", "127.0.0.1", "127.0.0.1:8929")),
        ("http://gitlab.example.com", ("80", "http", *["gitlab.example.com"] * 2)),
        ("https://gitlab.example.com", ("443", "https", *["gitlab.example.com"] * 2)),
    ],
)
def test_a_pipeline_knows_the_address_of_the_server(
    base_url: str, expected: tuple[str, ...]
) -> None:
    variables = of_pipeline(GitLabInstance(base_url=base_url, version="19.3"))
    keys = ("CI_SERVER_PORT", "CI_SERVER_PROTOCOL", "CI_SERVER_HOST", "CI_SERVER_FQDN")
    assert tuple(variables[key] for key in keys) == expected


def test_a_job_knows_its_server_project_pipeline_runner_and_user() -> None:
    site = SmallGitLab()
    variables = of_job(site, name="Unit Tests 1", timeout_s=90)
    token = site.engine.jobs[1].token
    expected = named(f"""
        CI=true GITLAB_CI=true CI_SERVER_URL={BASE} CI_API_V4_URL={BASE}/api/v4
        CI_SERVER_VERSION=19.3.1-ee CI_SERVER_VERSION_MAJOR=19 CI_SERVER_VERSION_MINOR=3
        CI_SERVER_VERSION_PATCH=1 CI_PROJECT_ID=1 CI_PROJECT_PATH=acme/demo
        CI_PROJECT_NAMESPACE=acme CI_PROJECT_URL={BASE}/acme/demo CI_DEFAULT_BRANCH=main
        CI_COMMIT_MESSAGE_IS_TRUNCATED=false CI_PIPELINE_ID=1 CI_PIPELINE_NAME=
        CI_PIPELINE_CREATED_AT=2026-08-20T12:00:00Z CI_JOB_ID=1 CI_JOB_NAME_SLUG=unit-tests-1
        CI_JOB_STAGE=test CI_JOB_STARTED_AT=2026-08-20T12:00:00Z CI_JOB_TIMEOUT=90
        CI_JOB_URL={BASE}/acme/demo/-/jobs/1 CI_JOB_TAGS=[] CI_JOB_RETRY_COUNT=0
        CI_JOB_TOKEN={token} CI_NODE_TOTAL=1 CI_RUNNER_ID=1 CI_RUNNER_DESCRIPTION=
        CI_REPOSITORY_URL=http://gitlab-ci-token:{token}@127.0.0.1:8929/acme/demo.git
        GITLAB_USER_LOGIN=user1""")
    assert expected.items() <= variables.items()
    assert variables["CI_JOB_NAME"] == "Unit Tests 1"
    assert variables["CI_RUNNER_TAGS"] == '["docker", "ec2", "lambda", "node"]'
    assert of_job(SmallGitLab())["CI_JOB_TIMEOUT"] == "3600"
    site.engine.jobs[1].pipeline.name = "nightly"
    assert texts(site.engine.jobs[1])["CI_PIPELINE_NAME"] == "nightly"


def test_some_variables_need_a_keyword_of_the_job() -> None:
    plain = of_job(SmallGitLab())
    rich = of_job(
        SmallGitLab(),
        name="unit 2/5",
        id_in_parallel=(2, 5),
        image=ImageSpec(name="python:3.11"),
        environment=EnvironmentSpec(name="production", url="https://$CI_ENVIRONMENT_SLUG.x"),
    )
    expected = named("""
        CI_NODE_INDEX=2 CI_JOB_IMAGE=python:3.11 CI_ENVIRONMENT_NAME=production
        CI_ENVIRONMENT_SLUG=production CI_ENVIRONMENT_ACTION=start CI_ENVIRONMENT_TIER=production
        CI_ENVIRONMENT_URL=https://$CI_ENVIRONMENT_SLUG.x""")
    assert not expected.keys() & plain.keys()
    assert expected.items() <= rich.items()
    assert (rich["CI_NODE_TOTAL"], rich["CI_JOB_GROUP_NAME"]) == ("5", "unit")


@pytest.mark.parametrize(
    ("when", "value"), [("manual", "true"), ("delayed", "true"), ("on_success", None)]
)
def test_a_job_knows_whether_it_is_manual(when: str, value: str | None) -> None:
    pipeline = SmallGitLab().start(job_spec("unit", when=when, start_in_s=60))
    assert texts(pipeline.latest["unit"]).get("CI_JOB_MANUAL") == value


# As GitLab's own tests have them; the suffix is of the name's digest.
@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("staging-12345678901234567", "staging-123456789-"),
        ("9-staging-123456789012345", "env-9-staging-123-"),
        ("staging-1234567890123456-", "staging-123456789-"),
        ("PRODUCTION", "production-"),
        ("review/1-foo", "review-1-foo-"),
        ("1-foo", "env-1-foo-"),
        ("1/foo", "env-1-foo-"),
        ("foo--bar", "foo-bar-"),
        ("foo/bar/", "foo-bar-"),
        ("review/Some-Feature-With-A-Long-Name", "review-some-featu-"),
    ],
)
def test_a_shortened_slug_has_24_characters_at_most_and_a_digest(name: str, start: str) -> None:
    short = environment_slug(name)
    assert re.fullmatch(re.escape(start) + "[a-z0-9]{6}", short)
    assert len(short) <= 24
    assert environment_slug(f"{name}x")[-6:] != short[-6:]


def test_a_name_that_is_a_slug_stays() -> None:
    for name in ("staging-1234567890123456", "production", "a"):
        assert environment_slug(name) == name
    assert environment_slug("prod-") == "prod"


TIERS = """review/x=development trunk=development QA-2=testing acceptance=testing Staging=staging
    pre=staging prod/eu=production live=production dr=other"""


@pytest.mark.parametrize(("name", "tier"), named(TIERS).items())
def test_the_tier_follows_from_the_name_unless_the_file_has_one(name: str, tier: str) -> None:
    variables = of_job(SmallGitLab(), environment=EnvironmentSpec(name=name))
    assert variables["CI_ENVIRONMENT_TIER"] == tier
    explicit = EnvironmentSpec(name=name, tier="other", action="prepare")
    variables = of_job(SmallGitLab(), environment=explicit)
    assert variables["CI_ENVIRONMENT_TIER"] == "other"
    assert variables["CI_ENVIRONMENT_ACTION"] == "prepare"
