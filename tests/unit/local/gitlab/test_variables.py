"""Predefined variables, and which of two wins."""

from __future__ import annotations

from typing import Any

import pytest

from local.gitlab.ci_types import ImageSpec
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
        environment="Production",
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
