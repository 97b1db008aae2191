"""What a runner is handed: types it can decode, and everything the job needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from local.gitlab.ci.types import ArtifactSpec, CacheSpec, ImageSpec, NeedSpec
from local.gitlab.handout import Json, dependencies_of, job_payload
from local.gitlab.model import Job, Pipeline
from local.gitlab.variables import GitLabInstance
from local.stand_in.job import read_job
from tests.unit.local.gitlab.small_gitlab import SHA, SmallGitLab, job_spec

BASE = "http://127.0.0.1:8929"
GITLAB = GitLabInstance(base_url=BASE, version="19.3.1-ee")
_JSON_WORDS = {"str": str, "int": int, "bool": bool, "list": list, "dict": dict}


def handed(site: SmallGitLab, job: Job) -> Json:
    """The payload as the runner gets it: through JSON."""
    payload = job_payload(job, instance=GITLAB, queue_depth=2, queued_s=1.9)
    return dict(json.loads(json.dumps(payload)))


def taken(site: SmallGitLab, **rest: Any) -> Json:
    """The payload of a single job, taken by the site's runner."""
    site.start(job_spec("unit", **rest))
    job = site.take()
    assert job is not None
    return handed(site, job)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("id", "int"),
        ("token", "str"),
        ("allow_git_fetch", "bool"),
        ("job_info.project_jobs_running_on_instance_runners_count", "str"),
        ("job_info.time_in_queue_seconds", "int"),
        ("job_info.queue_depth", "int"),
        ("git_info.depth", "int"),
        ("git_info.refspecs", "list"),
        ("git_info.protected", "bool"),
        ("runner_info.timeout", "int"),
        ("variables", "list"),
        ("steps", "list"),
        ("services", "list"),
        ("cache", "list"),
        ("credentials", "list"),
        ("dependencies", "list"),
        ("features.failure_reasons", "list"),
        ("features.trace_sections", "bool"),
    ],
)
def test_types_are_those_the_runner_decodes(path: str, kind: str) -> None:
    found: Any = taken(SmallGitLab())
    for name in path.split("."):
        found = found[name]
    assert type(found) is _JSON_WORDS[kind]


def test_what_would_break_a_runner_is_left_out() -> None:
    payload = taken(SmallGitLab())
    assert "run" not in payload
    assert payload["image"] is None
    assert payload["artifacts"] is None
    assert all(type(variable["value"]) is str for variable in payload["variables"])


def test_git_comes_with_a_login_and_refs_that_exist() -> None:
    site = SmallGitLab()
    site.project.refs = {"refs/heads/main": SHA, "refs/pipelines/1": SHA}
    info = taken(site)["git_info"]
    token = site.engine.jobs[1].token
    assert info["repo_url"] == f"http://gitlab-ci-token:{token}@127.0.0.1:8929/acme/demo.git"
    assert (info["ref"], info["ref_type"], info["sha"]) == ("main", "branch", SHA)
    assert info["refspecs"] == [
        "+refs/pipelines/1:refs/pipelines/1",
        "+refs/heads/main:refs/remotes/origin/main",
    ]
    assert info["protected"]


def test_a_deleted_branch_is_not_fetched() -> None:
    site = SmallGitLab()
    site.project.refs = {"refs/pipelines/1": SHA}
    assert taken(site)["git_info"]["refspecs"] == ["+refs/pipelines/1:refs/pipelines/1"]


def test_a_tag_is_fetched_as_a_tag() -> None:
    site = SmallGitLab()
    site.project.refs = {"refs/tags/v1": SHA}
    site.start(job_spec("unit"), ref="v1", is_tag=True)
    job = site.take()
    assert job is not None
    info = handed(site, job)["git_info"]
    assert (info["ref_type"], info["refspecs"]) == ("tag", ["+refs/tags/v1:refs/tags/v1"])
    assert not info["protected"]


@pytest.mark.parametrize(("said", "depth"), [(None, 20), ("3", 3), ("0", 0), ("deep", 20)])
def test_depth_is_a_variable(said: str | None, depth: int) -> None:
    variables = {} if said is None else {"GIT_DEPTH": said}
    assert taken(SmallGitLab(), variables=variables)["git_info"]["depth"] == depth


def test_steps_are_the_script_and_what_follows_always() -> None:
    steps = taken(SmallGitLab(), after_script=("echo bye",), timeout_s=90)["steps"]
    assert steps == [
        {
            "name": "script",
            "script": ["true"],
            "timeout": 90,
            "when": "on_success",
            "allow_failure": False,
        },
        {
            "name": "after_script",
            "script": ["echo bye"],
            "timeout": 90,
            "when": "always",
            "allow_failure": True,
        },
    ]


def test_without_after_script_there_is_one_step() -> None:
    assert [step["name"] for step in taken(SmallGitLab())["steps"]] == ["script"]


def test_secrets_are_masked_and_not_public() -> None:
    variables = {v["key"]: v for v in taken(SmallGitLab())["variables"]}
    for name in ("CI_JOB_TOKEN", "CI_REPOSITORY_URL"):
        assert variables[name]["masked"]
        assert not variables[name]["public"]
    assert variables["CI_JOB_ID"]["public"]
    assert not variables["CI_JOB_ID"]["masked"]


def test_raw_variables_are_not_expanded_unless_the_pipeline_sets_its_own() -> None:
    site = SmallGitLab()
    spec = job_spec("unit", variables={"A": "$B", "C": "$D"}, raw_variables=frozenset({"A", "C"}))
    site.start(spec, variables={"C": "mine"})
    job = site.take()
    assert job is not None
    raw = {v["key"] for v in handed(site, job)["variables"] if v["raw"]}
    assert raw == {"A"}


def test_image_and_services() -> None:
    payload = taken(
        SmallGitLab(),
        image=ImageSpec(name="python:3.11", entrypoint=("",), pull_policy=("if-not-present",)),
        services=(ImageSpec(name="postgres:16", alias="db", variables={"POSTGRES_DB": "x"}),),
    )
    assert payload["image"]["name"] == "python:3.11"
    assert payload["image"]["entrypoint"] == [""]
    assert payload["image"]["pull_policy"] == ["if-not-present"]
    (service,) = payload["services"]
    assert (service["name"], service["alias"]) == ("postgres:16", "db")
    assert service["variables"] == [{"key": "POSTGRES_DB", "value": "x", "public": True}]


def test_artifacts_and_reports() -> None:
    spec = ArtifactSpec(
        paths=("out/",), expire_in="1 week", when="always", reports={"junit": ("report.xml",)}
    )
    archive, report = taken(SmallGitLab(), artifacts=(spec,))["artifacts"]
    assert (archive["artifact_type"], archive["artifact_format"]) == ("archive", "zip")
    assert (archive["paths"], archive["expire_in"], archive["when"]) == (
        ["out/"],
        "1 week",
        "always",
    )
    assert (report["artifact_type"], report["artifact_format"]) == ("junit", "gzip")
    assert report["paths"] == ["report.xml"]


def test_reports_alone_make_no_archive() -> None:
    spec = ArtifactSpec(reports={"junit": ("report.xml",)})
    entries = taken(SmallGitLab(), artifacts=(spec,))["artifacts"]
    assert [entry["artifact_type"] for entry in entries] == ["junit"]


@pytest.mark.parametrize(("ref", "suffix"), [("main", "protected"), ("work", "non_protected")])
def test_caches_of_protected_branches_are_kept_apart(ref: str, suffix: str) -> None:
    site = SmallGitLab()
    cache = CacheSpec(key="npm", paths=("node_modules/",), fallback_keys=("old",))
    site.start(job_spec("unit", cache=(cache,)), ref=ref)
    job = site.take()
    assert job is not None
    (entry,) = handed(site, job)["cache"]
    assert entry["key"] == f"npm-{suffix}"
    assert entry["fallback_keys"] == [f"old-{suffix}"]
    assert entry["paths"] == ["node_modules/"]


def test_the_runner_is_offered_newer_failure_reasons() -> None:
    reasons = taken(SmallGitLab())["features"]["failure_reasons"]
    assert {"runner_interrupted", "runner_system_failure", "job_execution_timeout"} <= set(reasons)


def test_running_jobs_on_instance_runners_are_counted_in_words() -> None:
    site = SmallGitLab()
    site.start(job_spec("first"))
    site.take()
    info = taken(site)["job_info"]
    assert info["project_jobs_running_on_instance_runners_count"] == "2"
    assert (info["time_in_queue_seconds"], info["queue_depth"]) == (1, 2)


def with_artifacts(site: SmallGitLab, pipeline: Pipeline, name: str, folder: Path) -> Job:
    job = site.end(pipeline, name)
    job.artifacts = folder / f"{job.id}.zip"
    job.artifacts.write_bytes(b"zip!")
    return job


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        pytest.param({}, ["a", "b"], id="all of the stages before"),
        pytest.param({"dependencies": ("b",)}, ["b"], id="only those named"),
        pytest.param({"dependencies": ()}, [], id="none when none is named"),
        pytest.param({"needs": ["a"]}, ["a"], id="only those needed"),
        pytest.param({"needs": [NeedSpec(job="a", artifacts=False)]}, [], id="need without files"),
        pytest.param({"needs": []}, [], id="needs nothing"),
    ],
)
def test_dependencies(rest: dict[str, Any], expected: list[str], tmp_path: Path) -> None:
    site = SmallGitLab()
    pipeline = site.start(
        job_spec("a", "build"),
        job_spec("b", "build"),
        job_spec("dry", "build"),
        job_spec("unit", **rest),
    )
    with_artifacts(site, pipeline, "a", tmp_path)
    with_artifacts(site, pipeline, "b", tmp_path)
    site.end(pipeline, "dry")
    unit = pipeline.latest["unit"]
    assert [job.spec.name for job in dependencies_of(unit)] == expected


def test_a_dependency_is_handed_with_its_own_token(tmp_path: Path) -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("a", "build"), job_spec("unit"))
    built = with_artifacts(site, pipeline, "a", tmp_path)
    unit = site.run(pipeline, "unit")
    assert handed(site, unit)["dependencies"] == [
        {
            "id": built.id,
            "token": built.token,
            "name": "a",
            "artifacts_file": {"filename": "artifacts.zip", "size": 4},
        }
    ]


def test_artifacts_of_a_retried_job_are_not_handed_on(tmp_path: Path) -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("a", "build", retry=1), job_spec("unit"))
    first = site.end(pipeline, "a", "failed")
    first.artifacts = tmp_path / "old.zip"
    site.end(pipeline, "a")
    assert dependencies_of(pipeline.latest["unit"]) == []


# What each key of the body may hold, as the runner decodes it: a tuple of types, a dict for an
# object, a list of one shape for a list of those.
_TEXT, _WHOLE, _FLAG = (str,), (int,), (bool,)
_IMAGE: dict[str, Any] = {
    "name": _TEXT,
    "alias": (str, type(None)),
    "command": (list, type(None)),
    "entrypoint": (list, type(None)),
    "ports": (list,),
    "variables": [{"key": _TEXT, "value": _TEXT, "public": _FLAG}],
    "pull_policy": (list,),
}
_SHAPE: dict[str, Any] = {
    "id": _WHOLE,
    "token": _TEXT,
    "allow_git_fetch": _FLAG,
    "job_info": {
        **dict.fromkeys(("name", "stage", "project_name", "project_full_path"), _TEXT),
        **dict.fromkeys(("instance_id", "instance_uuid"), _TEXT),
        **dict.fromkeys(("id", "pipeline_id", "project_id", "namespace_id", "user_id"), _WHOLE),
        **dict.fromkeys(("root_namespace_id", "organization_id"), _WHOLE),
        **dict.fromkeys(("queue_size", "queue_depth", "time_in_queue_seconds"), _WHOLE),
        "project_jobs_running_on_instance_runners_count": _TEXT,
        "scoped_user_id": (type(None),),
    },
    "git_info": {
        **dict.fromkeys(("repo_url", "repo_object_format", "ref", "sha", "before_sha"), _TEXT),
        "ref_type": _TEXT,
        "refspecs": (list,),
        "depth": _WHOLE,
        "protected": _FLAG,
    },
    "runner_info": {"timeout": _WHOLE, "runner_session_url": (type(None),)},
    "inputs": (list,),
    "variables": [
        {
            **dict.fromkeys(("key", "value"), _TEXT),
            **dict.fromkeys(("public", "file", "masked", "raw"), _FLAG),
        }
    ],
    "steps": [
        {
            **dict.fromkeys(("name", "when"), _TEXT),
            "script": (list,),
            "timeout": _WHOLE,
            "allow_failure": _FLAG,
        }
    ],
    "image": _IMAGE,
    "services": [_IMAGE],
    "artifacts": [
        {
            "name": (str, type(None)),
            "untracked": _FLAG,
            **dict.fromkeys(("paths", "exclude"), (list,)),
            **dict.fromkeys(("when", "artifact_type", "artifact_format", "expire_in"), _TEXT),
        }
    ],
    "cache": [
        {
            **dict.fromkeys(("key", "policy", "when"), _TEXT),
            "untracked": _FLAG,
            **dict.fromkeys(("paths", "fallback_keys"), (list,)),
        }
    ],
    "credentials": (list,),
    "dependencies": [
        {
            "id": _WHOLE,
            **dict.fromkeys(("token", "name"), _TEXT),
            "artifacts_file": {"filename": _TEXT, "size": _WHOLE},
        }
    ],
    "hooks": (list,),
    "features": {
        "trace_sections": _FLAG,
        **dict.fromkeys(("token_mask_prefixes", "failure_reasons"), (list,)),
    },
}


def check(found: Any, shape: Any, at: str) -> None:
    """`found` has these keys and no others, each of its type, at least one in each list."""
    if isinstance(shape, dict):
        assert set(found) == set(shape), at
        for key, wanted in shape.items():
            check(found[key], wanted, f"{at}.{key}")
    elif isinstance(shape, list):
        assert found, at
        for one in found:
            check(one, shape[0], at)
    else:
        assert type(found) in shape, at


def test_a_job_that_has_everything_has_the_documented_shape(tmp_path: Path) -> None:
    site = SmallGitLab()
    image = ImageSpec(name="node", alias="n", command=("run",), variables={"A": "1"})
    pipeline = site.start(
        job_spec("build", "build"),
        job_spec(
            "unit",
            after_script=("true",),
            image=image,
            services=(image,),
            artifacts=(ArtifactSpec(paths=("out",), expire_in="1 week"),),
            cache=(CacheSpec(paths=("node_modules",)),),
        ),
    )
    built = site.end(pipeline, "build")
    built.artifacts = tmp_path / "a.zip"
    built.artifacts.write_bytes(b"zip")
    body = handed(site, site.run(pipeline, "unit"))
    check(body, _SHAPE, "job")
    assert body["image"]["command"] == ["run"]
    assert body["image"]["entrypoint"] is None
    # the stand-in decodes as strictly as the real runner does
    assert read_job(json.dumps(body).encode()).dependencies[0].id == built.id


def test_a_report_names_its_files_and_never_takes_untracked_ones() -> None:
    spec = ArtifactSpec(untracked=True, reports={"junit": ("r.xml",)}, expire_in="1 day")
    archive, report = taken(SmallGitLab(), artifacts=(spec,))["artifacts"]
    assert (archive["untracked"], archive["paths"]) == (True, [])
    assert report == {
        "name": "junit.xml",
        "untracked": False,
        "paths": ["r.xml"],
        "when": "always",
        "artifact_type": "junit",
        "artifact_format": "gzip",
        "expire_in": "1 day",
    }


@pytest.mark.parametrize(
    ("kind", "form", "name"),
    [
        ("dotenv", "gzip", ".env"),
        ("sast", "raw", "gl-sast-report.json"),
        ("cobertura", "gzip", "cobertura-coverage.xml"),
        ("lsif", "zip", "lsif.json"),
    ],
)
def test_each_report_is_sent_as_gitlab_wants_it(kind: str, form: str, name: str) -> None:
    spec = ArtifactSpec(reports={kind: ("r",)})
    (report,) = taken(SmallGitLab(), artifacts=(spec,))["artifacts"]
    shown = (report["artifact_type"], report["artifact_format"], report["name"])
    assert shown == (kind, form, name)


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ({}, {"A": "2", "B": "1"}),  # by stage: all, the later job's over the earlier's
        ({"dependencies": ("first",)}, {"A": "1", "B": "1"}),
        ({"dependencies": ()}, {}),
        ({"needs": ["first"]}, {"A": "1", "B": "1"}),
        ({"needs": [NeedSpec(job="first", artifacts=False), "second"]}, {"A": "2"}),
        ({"needs": []}, {}),
        ({"variables": {"A": "file", "C": "$A-$B"}}, {"A": "2", "B": "1", "C": "2-1"}),
    ],
)
def test_variables_that_earlier_jobs_hand_in(
    rest: dict[str, Any], expected: dict[str, str]
) -> None:
    site = SmallGitLab()
    jobs = (job_spec("first", "build"), job_spec("second", "build"), job_spec("beside"))
    pipeline = site.start(*jobs, job_spec("unit", **rest), stages=["build", "test"])
    pipeline.latest["first"].dotenv = {"A": "1", "B": "1"}
    pipeline.latest["second"].dotenv = {"A": "2"}
    pipeline.latest["beside"].dotenv = {"A": "never"}
    told = handed(site, pipeline.latest["unit"])["variables"]
    assert {v["key"]: v["value"] for v in told if v["key"] in "ABC"} == expected


def test_nested_variables_are_expanded_before_the_runner_gets_them() -> None:
    variables = {
        "A": "$B/${B} %B%",
        "B": "$C",
        "C": "deep",
        "KEPT": "$$C $NOBODY $RAW",
        "RAW": "$C",
        "ROUND": "a$ROUND2",
        "ROUND2": "b$ROUND",
    }
    told = taken(SmallGitLab(), variables=variables, raw_variables=frozenset({"RAW"}))["variables"]
    found = {v["key"]: v["value"] for v in told if v["key"] in variables}
    assert found == {
        "A": "deep/deep deep",
        "B": "deep",
        "C": "deep",
        "KEPT": "$$C $NOBODY $RAW",
        "RAW": "$C",
        "ROUND": "ab$ROUND",
        "ROUND2": "ba$ROUND2",
    }


@pytest.mark.parametrize(
    ("depth", "sent"), [("0", 0), ("7", 7), ("$HOW_DEEP", 3), ("many", 20), ("", 20)]
)
def test_the_depth_of_a_clone_and_what_no_depth_fetches(depth: str, sent: int) -> None:
    site = SmallGitLab()
    site.project.refs = {"refs/heads/main": SHA, "refs/pipelines/1": SHA}
    info = taken(site, variables={"GIT_DEPTH": depth, "HOW_DEEP": "3"})["git_info"]
    everything = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"]
    branch = ["+refs/heads/main:refs/remotes/origin/main"]
    kept = "+refs/pipelines/1:refs/pipelines/1"
    assert info["depth"] == sent
    assert info["refspecs"] == [kept, *(branch if sent else everything)]


def test_what_a_runner_cannot_do_without() -> None:
    body = taken(SmallGitLab())
    assert body["id"] > 0
    assert body["token"].startswith("glcbt-64_")
    assert len(body["token"]) == len("glcbt-64_") + 20  # the real runner panics below 15
    assert len(body["git_info"]["sha"]) >= 8
    assert body["features"]["failure_reasons"][:2] == ["unknown_failure", "script_failure"]
    assert "runner_interrupted" in body["features"]["failure_reasons"]
