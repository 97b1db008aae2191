"""Predefined variables, and which of two wins."""

from __future__ import annotations

from typing import Any

import pytest

from local.gitlab.ci_types import EnvironmentSpec, ImageSpec
from local.gitlab.model import Job
from local.gitlab.variables import (
    authorized_clone_url,
    job_variables,
    pipeline_variables,
    slug,
)
from tests.unit.local.gitlab.small_gitlab import SHA, SmallGitLab, commit, job_spec

BASE = "http://127.0.0.1:8929"


def of_job(site: SmallGitLab, **rest: Any) -> dict[str, str]:
    site.start(job_spec(rest.pop("name", "unit"), **rest))
    job = site.take()
    assert job is not None
    return job_variables(job, BASE)


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
    found = pipeline_variables(site.request(ref="feature/x"), BASE)
    assert found["CI_COMMIT_BRANCH"] == "feature/x"
    assert found["CI_COMMIT_REF_NAME"] == "feature/x"
    assert found["CI_COMMIT_REF_SLUG"] == "feature-x"
    assert found["CI_COMMIT_REF_PROTECTED"] == "false"
    assert "CI_COMMIT_TAG" not in found
    assert found["CI_PIPELINE_SOURCE"] == "push"


def test_a_tag_pipeline() -> None:
    site = SmallGitLab()
    found = pipeline_variables(site.request(ref="v1.0", is_tag=True), BASE)
    assert found["CI_COMMIT_TAG"] == "v1.0"
    assert "CI_COMMIT_BRANCH" not in found


def test_the_commit() -> None:
    site = SmallGitLab()
    request = site.request(commit=commit("Speed up tests\n\nThey were slow.\n"))
    found = pipeline_variables(request, BASE)
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
        environment=EnvironmentSpec(name="Production"),
    )
    expected = {
        "CI_NODE_INDEX": "2",
        "CI_JOB_IMAGE": "python:3.11",
        "CI_ENVIRONMENT_NAME": "Production",
        "CI_ENVIRONMENT_SLUG": "production",
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
    found = job_variables(job, BASE)
    assert (found["MODE"], found["COLOR"], found["CI_JOB_NAME"]) == ("asked", "red", "mine")


def test_an_address_without_a_port_is_on_80() -> None:
    site = SmallGitLab()
    found = pipeline_variables(site.request(), "http://gitlab.example.com")
    assert (found["CI_SERVER_PORT"], found["CI_SERVER_PROTOCOL"]) == ("80", "http")
    assert found["CI_SERVER_HOST"] == found["CI_SERVER_FQDN"] == "gitlab.example.com"
    other = pipeline_variables(site.request(), BASE)
    assert (other["CI_SERVER_PORT"], other["CI_SERVER_FQDN"]) == ("8929", "127.0.0.1:8929")


@pytest.mark.parametrize(("is_public", "said"), [(True, "public"), (False, "private")])
def test_who_may_see_the_project(is_public: bool, said: str) -> None:
    site = SmallGitLab()
    site.project.is_public = is_public
    assert pipeline_variables(site.request(), BASE)["CI_PROJECT_VISIBILITY"] == said


def test_what_the_pipeline_and_the_hand_out_settle() -> None:
    site = SmallGitLab()
    found = of_job(site, name="Unit Tests 1", timeout_s=90)
    assert found["CI_PIPELINE_CREATED_AT"] == found["CI_JOB_STARTED_AT"] == "2026-08-20T12:00:00Z"
    assert found["CI_PIPELINE_NAME"] == ""
    assert found["CI_JOB_NAME_SLUG"] == "unit-tests-1"
    assert found["CI_JOB_TIMEOUT"] == "90"
    site.engine.jobs[1].pipeline.name = "nightly"
    assert job_variables(site.engine.jobs[1], BASE)["CI_PIPELINE_NAME"] == "nightly"


def test_a_played_job_knows_that_it_is_manual() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("gate", when="manual"), job_spec("unit"))
    for name, said in (("gate", "true"), ("unit", None)):
        assert job_variables(pipeline.latest[name], BASE).get("CI_JOB_MANUAL") == said


@pytest.mark.parametrize(
    ("name", "shared"),
    [("unit 1/3", "unit"), ("unit: 1/3", "unit"), ("unit", "unit"), ("unit 3", "unit 3")],
)
def test_parallel_jobs_share_a_group_name(name: str, shared: str) -> None:
    assert of_job(SmallGitLab(), name=name)["CI_JOB_GROUP_NAME"] == shared
