"""Predefined variables, and which of two wins."""

from __future__ import annotations

import re
from typing import Any

import pytest

from local.gitlab.ci.types import EnvironmentSpec, ImageSpec
from local.gitlab.environments import environment_slug
from local.gitlab.model import Job
from local.gitlab.variables import (
    GitLabInstance,
    authorized_clone_url,
    job_variables,
    pipeline_variables,
    slug,
)
from tests.unit.local.gitlab.small_gitlab import SHA, SmallGitLab, commit, job_spec

BASE = "http://127.0.0.1:8929"
GITLAB = GitLabInstance(base_url=BASE, version="19.3.1-ee")


def of_job(site: SmallGitLab, **rest: Any) -> dict[str, str]:
    site.start(job_spec(rest.pop("name", "unit"), **rest))
    job = site.take()
    assert job is not None
    return texts(job)


def texts(job: Job) -> dict[str, str]:
    return {key: one.value for key, one in job_variables(job, GITLAB).items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("main", "main"),
        ("Feature/ABC_1", "feature-abc-1"),
        ("-odd-", "odd"),
        ("x" * 80, "x" * 63),
    ],
)
def test_slug(text: str, expected: str) -> None:
    assert slug(text) == expected


def test_a_branch_pipeline() -> None:
    site = SmallGitLab()
    found = pipeline_variables(site.request(ref="feature/x"), GITLAB)
    assert found["CI_COMMIT_BRANCH"] == "feature/x"
    assert found["CI_COMMIT_REF_NAME"] == "feature/x"
    assert found["CI_COMMIT_REF_SLUG"] == "feature-x"
    assert found["CI_COMMIT_REF_PROTECTED"] == "false"
    assert "CI_COMMIT_TAG" not in found
    assert found["CI_PIPELINE_SOURCE"] == "push"


def test_a_tag_pipeline() -> None:
    site = SmallGitLab()
    found = pipeline_variables(site.request(ref="v1.0", is_tag=True), GITLAB)
    assert found["CI_COMMIT_TAG"] == "v1.0"
    assert "CI_COMMIT_BRANCH" not in found


def test_the_commit() -> None:
    site = SmallGitLab()
    request = site.request(commit=commit("Speed up tests\n\nThey were slow.\n"))
    found = pipeline_variables(request, GITLAB)
    assert (found["CI_COMMIT_SHA"], found["CI_COMMIT_SHORT_SHA"]) == (SHA, SHA[:8])
    assert found["CI_COMMIT_TITLE"] == "Speed up tests"
    assert found["CI_COMMIT_DESCRIPTION"] == "They were slow."
    assert found["CI_COMMIT_AUTHOR"] == "Dana Roe <dana@example.com>"
    assert found["CI_COMMIT_REF_PROTECTED"] == "true"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CI", "true"),
        ("GITLAB_CI", "true"),
        ("CI_SERVER_URL", BASE),
        ("CI_SERVER_HOST", "127.0.0.1"),
        ("CI_SERVER_PORT", "8929"),
        ("CI_API_V4_URL", f"{BASE}/api/v4"),
        ("CI_PROJECT_ID", "1"),
        ("CI_PROJECT_PATH", "acme/demo"),
        ("CI_PROJECT_NAMESPACE", "acme"),
        ("CI_PROJECT_URL", f"{BASE}/acme/demo"),
        ("CI_DEFAULT_BRANCH", "main"),
        ("CI_PIPELINE_ID", "1"),
        ("CI_JOB_ID", "1"),
        ("CI_JOB_NAME", "unit"),
        ("CI_JOB_STAGE", "test"),
        ("CI_JOB_URL", f"{BASE}/acme/demo/-/jobs/1"),
        ("CI_JOB_TIMEOUT", "3600"),
        ("CI_NODE_TOTAL", "1"),
        ("GITLAB_USER_LOGIN", "user1"),
        ("CI_SERVER_VERSION", "19.3.1-ee"),
        ("CI_SERVER_VERSION_MAJOR", "19"),
        ("CI_SERVER_VERSION_MINOR", "3"),
        ("CI_SERVER_VERSION_PATCH", "1"),
        ("CI_RUNNER_ID", "1"),
        ("CI_RUNNER_DESCRIPTION", ""),
        ("CI_RUNNER_TAGS", '["docker", "ec2", "lambda", "node"]'),
        ("CI_JOB_TAGS", "[]"),
        ("CI_JOB_RETRY_COUNT", "0"),
        ("CI_COMMIT_MESSAGE_IS_TRUNCATED", "false"),
    ],
)
def test_a_job_knows(name: str, value: str) -> None:
    assert of_job(SmallGitLab())[name] == value


def test_every_value_is_text() -> None:
    assert all(isinstance(value, str) for value in of_job(SmallGitLab()).values())


def test_the_token_is_the_jobs_own() -> None:
    site = SmallGitLab()
    found = of_job(site)
    job: Job = site.engine.jobs[1]
    assert found["CI_JOB_TOKEN"] == job.token
    assert found["CI_REPOSITORY_URL"] == authorized_clone_url(BASE, site.project, job.token)


def test_some_are_there_only_when_they_mean_something() -> None:
    plain = of_job(SmallGitLab())
    rich = of_job(
        SmallGitLab(),
        name="unit 2/5",
        id_in_parallel=(2, 5),
        image=ImageSpec(name="python:3.11"),
        environment=EnvironmentSpec(name="production", url="https://$CI_ENVIRONMENT_SLUG.x"),
    )
    expected = {
        "CI_NODE_INDEX": "2",
        "CI_JOB_IMAGE": "python:3.11",
        "CI_ENVIRONMENT_NAME": "production",
        "CI_ENVIRONMENT_SLUG": "production",
        "CI_ENVIRONMENT_ACTION": "start",
        "CI_ENVIRONMENT_TIER": "production",
        "CI_ENVIRONMENT_URL": "https://$CI_ENVIRONMENT_SLUG.x",
    }
    assert not expected.keys() & plain.keys()
    assert {name: rich[name] for name in expected} == expected
    assert (rich["CI_NODE_TOTAL"], rich["CI_JOB_GROUP_NAME"]) == ("5", "unit")


def test_the_pipelines_variables_win_over_the_files_and_both_over_predefined_ones() -> None:
    site = SmallGitLab()
    spec = job_spec("unit", variables={"MODE": "file", "COLOR": "red", "CI_JOB_NAME": "mine"})
    site.start(spec, variables={"MODE": "asked"})
    job = site.take()
    assert job is not None
    found = texts(job)
    assert (found["MODE"], found["COLOR"], found["CI_JOB_NAME"]) == ("asked", "red", "mine")


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
def test_a_shortened_slug_has_24_letters_at_most_and_its_own_end(name: str, start: str) -> None:
    found = environment_slug(name)
    assert re.fullmatch(re.escape(start) + "[a-z0-9]{6}", found)
    assert len(found) <= 24
    assert environment_slug(f"{name}x")[-6:] != found[-6:]


@pytest.mark.parametrize("name", ["staging-1234567890123456", "production", "a"])
def test_a_name_that_is_a_slug_already_stays(name: str) -> None:
    assert environment_slug(name) == name
    assert environment_slug("prod-") == "prod"


@pytest.mark.parametrize(
    ("name", "tier"),
    [
        ("review/x", "development"),
        ("trunk", "development"),
        ("QA-2", "testing"),
        ("acceptance", "testing"),
        ("Staging", "staging"),
        ("pre", "staging"),
        ("prod/eu", "production"),
        ("live", "production"),
        ("dr", "other"),
    ],
)
def test_a_tier_is_guessed_where_the_file_does_not_say(name: str, tier: str) -> None:
    assert (
        of_job(SmallGitLab(), environment=EnvironmentSpec(name=name))["CI_ENVIRONMENT_TIER"] == tier
    )
    told = EnvironmentSpec(name=name, tier="other", action="prepare")
    found = of_job(SmallGitLab(), environment=told)
    assert (found["CI_ENVIRONMENT_TIER"], found["CI_ENVIRONMENT_ACTION"]) == ("other", "prepare")


def test_an_address_without_a_port_is_on_80() -> None:
    site = SmallGitLab()
    found = pipeline_variables(
        site.request(), GitLabInstance(base_url="http://gitlab.example.com", version="19.3")
    )
    assert (found["CI_SERVER_PORT"], found["CI_SERVER_PROTOCOL"]) == ("80", "http")
    assert found["CI_SERVER_HOST"] == found["CI_SERVER_FQDN"] == "gitlab.example.com"
    other = pipeline_variables(site.request(), GITLAB)
    assert (other["CI_SERVER_PORT"], other["CI_SERVER_FQDN"]) == ("8929", "127.0.0.1:8929")


@pytest.mark.parametrize(("is_public", "said"), [(True, "public"), (False, "private")])
def test_who_may_see_the_project(is_public: bool, said: str) -> None:
    site = SmallGitLab()
    site.project.is_public = is_public
    assert pipeline_variables(site.request(), GITLAB)["CI_PROJECT_VISIBILITY"] == said


def test_what_the_pipeline_and_the_hand_out_settle() -> None:
    site = SmallGitLab()
    found = of_job(site, name="Unit Tests 1", timeout_s=90)
    assert found["CI_PIPELINE_CREATED_AT"] == found["CI_JOB_STARTED_AT"] == "2026-08-20T12:00:00Z"
    assert found["CI_PIPELINE_NAME"] == ""
    assert found["CI_JOB_NAME_SLUG"] == "unit-tests-1"
    assert found["CI_JOB_TIMEOUT"] == "90"
    site.engine.jobs[1].pipeline.name = "nightly"
    assert texts(site.engine.jobs[1])["CI_PIPELINE_NAME"] == "nightly"


def test_a_played_job_knows_that_it_is_manual() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("gate", when="manual"), job_spec("unit"))
    for name, said in (("gate", "true"), ("unit", None)):
        assert texts(pipeline.latest[name]).get("CI_JOB_MANUAL") == said


@pytest.mark.parametrize(
    ("name", "shared"),
    [
        ("unit 1/3", "unit"),
        ("unit: 1/3", "unit"),
        ("unit: [ruby, x] 1/3", "unit"),
        ("rspec:test: [ruby, ubuntu]", "rspec:test"),
        ("unit", "unit"),
        ("unit 3", "unit 3"),
    ],
)
def test_parallel_jobs_share_a_group_name(name: str, shared: str) -> None:
    assert of_job(SmallGitLab(), name=name)["CI_JOB_GROUP_NAME"] == shared
