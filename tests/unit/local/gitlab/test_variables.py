"""Predefined variables of pipelines and jobs, and their precedence."""

from __future__ import annotations

import re
from typing import Any

import pytest

from local.gitlab.ci.types import EnvironmentSpec, ImageSpec
from local.gitlab.environments import environment_slug
from local.gitlab.model import Job
from local.gitlab.variables import (
    GitLabInstance,
    job_variables,
)
from tests.unit.local.gitlab.small_gitlab import SmallGitLab, job_spec

BASE = "http://127.0.0.1:8929"
GITLAB = GitLabInstance(base_url=BASE, version="19.3.1-ee")


def of_job(site: SmallGitLab, **rest: Any) -> dict[str, str]:
    site.start(job_spec(rest.pop("name", "unit"), **rest))
    job = site.take()
    assert job is not None
    return texts(job)


def texts(job: Job) -> dict[str, str]:
    return {key: variable.value for key, variable in job_variables(job, GITLAB).items()}


def test_some_variables_need_a_keyword_of_the_job() -> None:
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
def test_the_tier_follows_from_the_name_unless_the_file_has_one(name: str, tier: str) -> None:
    variables = of_job(SmallGitLab(), environment=EnvironmentSpec(name=name))
    assert variables["CI_ENVIRONMENT_TIER"] == tier
    explicit = EnvironmentSpec(name=name, tier="other", action="prepare")
    variables = of_job(SmallGitLab(), environment=explicit)
    assert variables["CI_ENVIRONMENT_TIER"] == "other"
    assert variables["CI_ENVIRONMENT_ACTION"] == "prepare"
