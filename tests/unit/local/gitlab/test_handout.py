"""The body of a 201 from `POST /jobs/request`: types that a runner decodes, and all values."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.gitlab.ci.types import ArtifactSpec, CacheSpec, ImageSpec, NeedSpec
from local.gitlab.handout import Json, job_payload
from local.gitlab.model import Job
from local.gitlab.variables import GitLabInstance
from tests.unit.local.gitlab.small_gitlab import SHA, SmallGitLab, check_shape, job_spec

BASE = "http://127.0.0.1:8929"
GITLAB = GitLabInstance(base_url=BASE, version="19.3.1-ee")


def handed(site: SmallGitLab, job: Job) -> Json:
    """The payload, decoded from JSON."""
    payload = job_payload(job, instance=GITLAB, queue_depth=2, queued_s=1.9)
    return dict(json.loads(json.dumps(payload)))


def taken(site: SmallGitLab, *, of: dict[str, Any] | None = None, **rest: Any) -> Json:
    """The payload of a single job; `of` has fields of its pipeline's request."""
    site.start(job_spec("unit", **rest), **(of or {}))
    job = site.take()
    assert job is not None
    return handed(site, job)


MAIN, TAG, KEPT = "refs/heads/main", "refs/tags/v1", "refs/pipelines/1"
EVERYTHING = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"]


@pytest.mark.parametrize(
    ("ref", "refs", "refspecs"),
    [
        ("main", (MAIN, KEPT), [f"+{KEPT}:{KEPT}", f"+{MAIN}:refs/remotes/origin/main"]),
        ("main", (KEPT,), [f"+{KEPT}:{KEPT}"]),
        ("v1", (TAG,), [f"+{TAG}:{TAG}"]),
    ],
)
def test_git_comes_with_a_login_and_the_refs_that_exist(
    ref: str, refs: tuple[str, ...], refspecs: list[str]
) -> None:
    site = SmallGitLab()
    site.project.refs = dict.fromkeys(refs, SHA)
    is_tag = ref == "v1"
    info = taken(site, of={"ref": ref, "is_tag": is_tag})["git_info"]
    token = site.engine.jobs[1].token
    assert info["repo_url"] == f"http://gitlab-ci-token:{token}@127.0.0.1:8929/acme/demo.git"
    assert (info["ref"], info["ref_type"]) == (ref, "tag" if is_tag else "branch")
    assert (info["sha"], info["protected"]) == (SHA, not is_tag)
    assert info["refspecs"] == refspecs


@pytest.mark.parametrize(
    ("depth", "sent"),
    [(None, 20), ("0", 0), ("7", 7), ("$HOW_DEEP", 3), ("many", 20), ("", 20)],
)
def test_the_depth_of_a_clone_is_a_variable_and_zero_fetches_everything(
    depth: str | None, sent: int
) -> None:
    site = SmallGitLab()
    site.project.refs = {MAIN: SHA, KEPT: SHA}
    variables = {"HOW_DEEP": "3"} | ({} if depth is None else {"GIT_DEPTH": depth})
    info = taken(site, variables=variables)["git_info"]
    assert info["depth"] == sent
    wanted = [f"+{MAIN}:refs/remotes/origin/main"] if sent else EVERYTHING
    assert info["refspecs"] == [f"+{KEPT}:{KEPT}", *wanted]


def test_steps_are_the_script_and_then_the_after_script() -> None:
    assert [step["name"] for step in taken(SmallGitLab())["steps"]] == ["script"]
    steps = taken(SmallGitLab(), after_script=("echo bye",), timeout_s=90)["steps"]
    assert [tuple(step.values()) for step in steps] == [
        ("script", ["true"], 90, "on_success", False),
        ("after_script", ["echo bye"], 90, "always", True),
    ]


def test_secrets_are_masked_and_not_public() -> None:
    variables = {v["key"]: v for v in taken(SmallGitLab())["variables"]}
    secret = {name for name, variable in variables.items() if variable["masked"]}
    assert secret >= {"CI_JOB_TOKEN", "CI_REPOSITORY_URL"}
    assert secret == {name for name, variable in variables.items() if not variable["public"]}
    assert "CI_JOB_ID" not in secret


REPORT_KINDS = {
    **{"dotenv": "gzip .env", "sast": "raw gl-sast-report.json"},
    **{"cobertura": "gzip cobertura-coverage.xml", "lsif": "zip lsif.json"},
}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            ArtifactSpec(paths=("out/",), expire_in="1 week"),
            ["archive zip None ['out/'] False on_success 1 week"],
        ),
        (  # a report takes no untracked files
            ArtifactSpec(
                untracked=True, when="always", expire_in="2 days", reports={"junit": ("r.xml",)}
            ),
            [
                "archive zip None [] True always 2 days",
                "junit gzip junit.xml ['r.xml'] False always 2 days",
            ],
        ),
        *(
            (ArtifactSpec(reports={kind: ("r",)}), [f"{kind} {form} ['r'] False always None"])
            for kind, form in REPORT_KINDS.items()
        ),
    ],
)
def test_artifacts_are_an_archive_and_one_entry_for_each_report(
    spec: ArtifactSpec, expected: list[str]
) -> None:
    keys = ("artifact_type", "artifact_format", "name", "paths", "untracked", "when", "expire_in")
    entries = taken(SmallGitLab(), artifacts=(spec,))["artifacts"]
    assert [" ".join(str(entry[key]) for key in keys) for entry in entries] == expected


@pytest.mark.parametrize(
    ("ref", "unprotect", "suffix"),
    [
        ("main", False, "protected"),
        ("main", True, "non_protected"),
        ("work", False, "non_protected"),
    ],
)
def test_caches_of_protected_branches_are_kept_apart(
    ref: str, unprotect: bool, suffix: str
) -> None:
    spec = CacheSpec(
        key="npm", paths=("node_modules/",), fallback_keys=("old",), unprotect=unprotect
    )
    (entry,) = taken(SmallGitLab(), of={"ref": ref}, cache=(spec,))["cache"]
    assert (entry["key"], entry["fallback_keys"]) == (f"npm-{suffix}", [f"old-{suffix}"])
    assert entry["paths"] == ["node_modules/"]


def test_running_jobs_on_instance_runners_are_counted_in_words() -> None:
    site = SmallGitLab()
    site.start(job_spec("first"))
    site.take()
    info = taken(site)["job_info"]
    assert info["project_jobs_running_on_instance_runners_count"] == "2"
    assert (info["time_in_queue_seconds"], info["queue_depth"]) == (1, 2)


# What each key of the body holds, as the runner decodes it.
SHAPE = yaml.safe_load("""
id: int
token: str
allow_git_fetch: bool
job_info:
  name stage project_name project_full_path instance_id instance_uuid: str
  id pipeline_id project_id namespace_id user_id root_namespace_id organization_id: int
  queue_size queue_depth time_in_queue_seconds: int
  project_jobs_running_on_instance_runners_count: str
  scoped_user_id: str or null
git_info:
  repo_url repo_object_format ref sha before_sha ref_type: str
  refspecs: list
  depth: int
  protected: bool
runner_info: {timeout: int, runner_session_url: str or null}
inputs credentials hooks: list
variables: [{key value: str, public file masked raw: bool}]
steps: [{name when: str, script: list, timeout: int, allow_failure: bool}]
image: &image
  name: str
  alias: str or null
  command entrypoint: list or null
  ports pull_policy: list
  variables: [{key value: str, public: bool}]
services: [*image]
artifacts:
  - name: str or null
    untracked: bool
    paths exclude: list
    when artifact_type artifact_format expire_in: str
cache: [{key policy when: str, untracked: bool, paths fallback_keys: list}]
dependencies: [{id: int, token name: str, artifacts_file: {filename: str, size: int}}]
features: {trace_sections: bool, token_mask_prefixes failure_reasons: list}
""")


def test_a_job_that_has_everything_has_the_documented_shape(tmp_path: Path) -> None:
    site = SmallGitLab()
    image = ImageSpec(
        name="node", alias="n", command=("run",), pull_policy=("always",), variables={"A": "1"}
    )
    other = ImageSpec(name="db", entrypoint=("",), variables={"A": "1"})
    pipeline = site.start(
        job_spec("build", "build"),
        job_spec(
            "unit",
            after_script=("true",),
            image=image,
            services=(other,),
            artifacts=(ArtifactSpec(paths=("out",), expire_in="1 week"),),
            cache=(CacheSpec(paths=("node_modules",)),),
        ),
    )
    built = site.end(pipeline, "build")
    built.artifacts = tmp_path / "a.zip"
    built.artifacts.write_bytes(b"zip")
    body = handed(site, site.run(pipeline, "unit"))
    check_shape(body, SHAPE, "job")
    assert list(body["image"].values()) == [
        *("node", "n", ["run"], None, []),
        *([{"key": "A", "value": "1", "public": True}], ["always"]),
    ]
    (service,) = body["services"]
    assert (service["name"], service["alias"], service["entrypoint"]) == ("db", None, [""])
    assert body["dependencies"][0]["id"] == built.id


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
def test_a_job_gets_the_dotenv_variables_of_earlier_jobs(
    rest: dict[str, Any], expected: dict[str, str]
) -> None:
    site = SmallGitLab()
    jobs = (job_spec("first", "build"), job_spec("second", "build"), job_spec("beside"))
    pipeline = site.start(*jobs, job_spec("unit", **rest), stages=["build", "test"])
    pipeline.latest["first"].dotenv = {"A": "1", "B": "1"}
    pipeline.latest["second"].dotenv = {"A": "2"}
    pipeline.latest["beside"].dotenv = {"A": "never"}
    variables = handed(site, pipeline.latest["unit"])["variables"]
    assert {v["key"]: v["value"] for v in variables if v["key"] in "ABC"} == expected


def test_nested_variables_are_expanded_before_the_runner_gets_them() -> None:
    variables = {
        "A": "$B/${B} %B%",
        "B": "$C",
        "C": "deep",
        "KEPT": "$$C $UNSET $RAW",
        "RAW": "$C",
        "ROUND": "a$ROUND2",
        "ROUND2": "b$ROUND",
    }
    body = taken(SmallGitLab(), variables=variables, raw_variables=frozenset({"RAW"}))
    sent = {v["key"]: v["value"] for v in body["variables"] if v["key"] in variables}
    assert sent == {
        "A": "deep/deep deep",
        "B": "deep",
        "C": "deep",
        "KEPT": "$$C $UNSET $RAW",
        "RAW": "$C",
        "ROUND": "ab$ROUND",
        "ROUND2": "ba$ROUND2",
    }
