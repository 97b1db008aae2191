"""A job's JSON, read as strictly as the real runner reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from local.stand_in.job import Cache, Dependency, GitInfo, JobError, Step, Variable, read_job

FULL: dict[str, Any] = {
    "id": 101,
    "token": "glcbt-64_abc",
    "allow_git_fetch": True,
    "job_info": {
        "name": "unit",
        "project_id": 7,
        "project_jobs_running_on_instance_runners_count": "+Inf",
    },
    "git_info": {
        "repo_url": "http://gitlab-ci-token:t@127.0.0.1:1/acme/demo.git",
        "ref": "main",
        "sha": "0123456789",
        "refspecs": ["+refs/heads/main:refs/remotes/origin/main"],
        "depth": 20,
    },
    "runner_info": {"timeout": 60},
    "variables": [{"key": "K", "value": "v", "public": True, "masked": True, "raw": True}],
    "steps": [{"name": "script", "script": ["echo hi"], "timeout": 60, "when": "on_success"}],
    "artifacts": [
        {
            "name": "n",
            "paths": ["a"],
            "exclude": ["b"],
            "untracked": True,
            "when": "always",
            "expire_in": "1 week",
            "artifact_type": "archive",
            "artifact_format": "zip",
        }
    ],
    "cache": [{"key": "k", "paths": ["p"], "policy": "pull", "fallback_keys": ["f"]}],
    "dependencies": [
        {"id": 9, "token": "t", "name": "d", "artifacts_file": {"filename": "a.zip", "size": 1}}
    ],
    "hooks": [{"name": "pre_get_sources_script", "script": ["x"]}],
    "features": {"trace_sections": True, "failure_reasons": ["unknown_failure"]},
    "run": "[]",
    "something_new": {"x": 1},
}


def body(**changes: Any) -> bytes:
    return json.dumps({**FULL, **changes}).encode()


def test_everything_a_build_needs_is_read() -> None:
    job = read_job(body())
    assert (job.id, job.token, job.name, job.project_id) == (101, "glcbt-64_abc", "unit", 7)
    assert (job.timeout_s, job.allow_git_fetch, job.trace_sections) == (60, True, True)
    assert job.git.refspecs == ("+refs/heads/main:refs/remotes/origin/main",)
    assert job.git.clean_url == "http://127.0.0.1:1/acme/demo.git"
    assert job.variables == (Variable(key="K", value="v", masked=True, raw=True),)
    assert job.steps == (Step(name="script", script=("echo hi",)),)
    assert job.artifacts[0].expire_in == "1 week"
    assert job.cache[0] == Cache(
        key="k", paths=("p",), untracked=False, policy="pull", when="", fallback_keys=("f",)
    )
    assert job.dependencies == (Dependency(id=9, token="t", name="d", filename="a.zip"),)
    assert job.hooks == {"pre_get_sources_script": ("x",)}
    assert job.failure_reasons == ("unknown_failure",)


@pytest.mark.parametrize(
    "key", ["image", "artifacts", "cache", "dependencies", "hooks", "features", "runner_info"]
)
def test_null_is_as_good_as_absent(key: str) -> None:
    assert read_job(body(**{key: None})).id == 101


def test_without_a_timeout_there_are_two_hours() -> None:
    assert read_job(body(runner_info={"timeout": None})).timeout_s == 7200
    assert read_job(body(runner_info={"timeout": 0})).timeout_s == 7200


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"run": None}, id="run null"),
        pytest.param({"run": ""}, id="run empty"),
        pytest.param({"id": "101"}, id="id a text"),
        pytest.param({"id": True}, id="id a flag"),
        pytest.param({"runner_info": {"timeout": 60.0}}, id="timeout a float"),
        pytest.param({"variables": [{"key": "K", "value": 5}]}, id="value a number"),
        pytest.param({"git_info": {"depth": "20"}}, id="depth a text"),
        pytest.param({"steps": [{"name": "script", "script": "echo"}]}, id="script a text"),
        pytest.param({"steps": [{"name": "script", "script": [1]}]}, id="script of numbers"),
        pytest.param(
            {"job_info": {"project_jobs_running_on_instance_runners_count": 0}}, id="count a number"
        ),
        pytest.param({"steps": ["echo"]}, id="step a text"),
    ],
)
def test_what_the_real_decoder_refuses_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(JobError):
        read_job(body(**changes))


@pytest.mark.parametrize("raw", [b"", b"[1]", b"{", b"\xff"])
def test_what_is_no_job_at_all(raw: bytes) -> None:
    with pytest.raises(JobError):
        read_job(raw)


@pytest.mark.parametrize(
    ("when", "success", "failure"),
    [
        ("", True, False),
        ("on_success", True, False),
        ("on_failure", False, True),
        ("always", True, True),
    ],
)
def test_when_things_are_kept(when: str, success: bool, failure: bool) -> None:
    artifact = {**FULL["artifacts"][0], "when": when}
    cache = {**FULL["cache"][0], "when": when}
    job = read_job(body(artifacts=[artifact], cache=[cache]))
    for kept in (job.artifacts[0], job.cache[0]):
        assert (kept.is_for(True), kept.is_for(False)) == (success, failure)


def test_what_a_variable_does_not_say_is_no() -> None:
    (variable,) = read_job(body(variables=[{"key": "K", "value": "v"}])).variables
    assert variable == Variable(key="K", value="v", file=False, masked=False, raw=False)


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("http://user:pass@host:1/a.git", "http://host:1/a.git"),
        ("http://host/a.git", "http://host/a.git"),
        ("http://u:p@ss@host/a.git", "http://host/a.git"),
        ("git@host:a.git", "git@host:a.git"),
        ("", ""),
    ],
)
def test_the_address_without_credentials(url: str, clean: str) -> None:
    assert GitInfo(repo_url=url).clean_url == clean


def test_numbers_that_are_not_told_are_nought() -> None:
    read = read_job(body(dependencies=[{"token": "t"}], git_info={}))
    assert (read.dependencies[0].id, read.git.depth) == (0, 0)
