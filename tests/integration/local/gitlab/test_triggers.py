"""From a push, an API call or a merge request to a pipeline, or to the reason why there is none.

The repositories are real, and the calls go in without a server.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.gitlab.merge_requests import note_push
from local.gitlab.model import NO_SHA, Pipeline
from local.gitlab.repository import create_repository, git_environment, read_refs
from local.gitlab.states import Status
from local.gitlab.trigger import PipelineStart, RefChange, push_report, start_pipeline
from tests.unit.local.gitlab.desk import Desk

CI = "unit: {script: make test}\n"
CREATE = "/projects/1/pipeline"
REQUESTS = "/projects/1/merge_requests"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Desk(tmp_path) as opened:
        yield opened


def commit(
    desk: Desk,
    *,
    message: str = "Change it",
    ref: str = "heads/main",
    parent: str | None = None,
    **files: str,
) -> str:
    """Put a commit with these files on a ref, through one git command; its sha."""
    repository = desk.project.repository
    if not repository.exists():
        create_repository(repository, default_branch="main")
    lines = [f"commit refs/{ref}", "committer Dana Roe <dana@example.com> 1786000000 +0000"]
    lines += [f"data {len(message)}", message, *([f"from {parent}"] if parent else [])]
    for name, text in files.items():
        path = {"ci": ".gitlab-ci.yml"}.get(name, f"{name}.yml")
        lines += [f"M 100644 inline {path}", f"data {len(text)}", text]
    subprocess.run(
        ["git", "--git-dir", str(repository), "fast-import", "--quiet", "--force"],
        input="\n".join([*lines, ""]),
        text=True,
        env=git_environment(),
        check=True,
    )
    desk.project.refs = read_refs(repository)
    return desk.project.refs[f"refs/{ref}"]


def push(desk: Desk, ref: str = "heads/main", *, old: str = NO_SHA) -> Pipeline | None:
    """The pipeline that a push of the ref starts, if any."""
    name = f"refs/{ref}"
    change = RefChange(name=name, old=old, new=desk.project.refs[name])
    start = PipelineStart(project=desk.project, change=change, source="push", user=desk.world.root)
    return desk.run(start_pipeline(desk.world, start))


def pushed(desk: Desk, ref: str = "heads/main", *, old: str = NO_SHA, **of_commit: str) -> Pipeline:
    """The pipeline that a push of a new commit starts."""
    commit(desk, ref=ref, **of_commit)
    pipeline = push(desk, ref, old=old)
    assert pipeline is not None
    return pipeline


def asked(desk: Desk, **body: Any) -> Any:
    return desk.call("POST", CREATE, json={"ref": "main", **body})


def sent(desk: Desk) -> dict[str, dict[str, Any]]:
    """The variables that a new runner gets with the next job, by key."""
    variables = desk.ask(desk.register()).json()["variables"]
    return {variable["key"]: variable for variable in variables}


def test_a_push_makes_a_pipeline_and_keeps_its_commit_fetchable(desk: Desk) -> None:
    pipeline = pushed(desk, ci=CI)
    sha = desk.project.refs["refs/heads/main"]
    assert (pipeline.commit.sha, pipeline.source, pipeline.ref) == (sha, "push", "main")
    assert [job.status for job in pipeline.jobs.values()] == [Status.PENDING]
    assert pipeline.commit.message == "Change it\n"
    assert pipeline.commit.author_name == "Dana Roe"
    assert desk.project.refs["refs/pipelines/1"] == sha
    assert read_refs(desk.project.repository)["refs/pipelines/1"] == sha
    body = desk.ask(desk.register()).json()
    assert "+refs/pipelines/1:refs/pipelines/1" in body["git_info"]["refspecs"]


def test_a_commit_without_a_selected_job_makes_no_pipeline(desk: Desk) -> None:
    for files in ({"other": CI}, {"ci": "unit: {script: x, only: [tags]}\n"}):
        commit(desk, **files)
        assert push(desk) is None
        refused = asked(desk)
        assert (refused.status_code, "will not run" in refused.text) == (400, True)
    assert desk.world.ci.pipelines == {}
    assert "refs/pipelines/1" not in desk.project.refs
    commit(desk, ci="unit: {script: x, only: [tags]}\n", ref="tags/v1")
    made = asked(desk, ref="v1")
    assert (made.status_code, made.json()["tag"], made.json()["ref"]) == (201, True, "v1")


def test_a_ci_file_with_an_error_makes_a_failed_pipeline(desk: Desk) -> None:
    pipeline = pushed(desk, ci="unit: {script: x, scirpt: x}\n")
    assert (pipeline.status, pipeline.jobs) == (Status.FAILED, {})
    assert pipeline.yaml_errors == ".gitlab-ci.yml line 1: jobs:unit: unsupported key 'scirpt'"
    refused = asked(desk)
    assert refused.status_code == 400
    assert refused.json() == {"message": {"base": [pipeline.yaml_errors]}}
    refused = asked(desk, inputs={"colour": "red"})
    assert (refused.status_code, "inputs: colour: " in refused.text) == (400, True)


def test_a_message_skips_a_push_but_no_pipeline_over_the_api(desk: Desk) -> None:
    skips = ("[ci skip]", "[skip ci]", "[CI-Skip]", "[skip_ci]")
    for mark in (*skips, "ci skip", "[ci  skip]", "[skipci]"):
        pipeline = pushed(desk, ci=CI, message=f"Change it {mark}")
        assert (pipeline.status is Status.SKIPPED) is (mark in skips), mark
        assert (pipeline.jobs == {}) is (mark in skips), mark
        assert asked(desk).json()["status"] == "pending"


@pytest.mark.parametrize(
    ("setting", "ref", "older"),
    [
        ("enabled", "heads/main", Status.CANCELED),
        ("disabled", "heads/main", Status.PENDING),
        ("enabled", "tags/v1", Status.CANCELED),
    ],
)
def test_a_newer_commit_cancels_the_pipelines_of_older_ones_unless_that_is_off(
    desk: Desk, setting: str, ref: str, older: Status
) -> None:
    body = {"auto_cancel_pending_pipelines": setting}
    assert desk.answer("PUT", "/projects/1", json=body)["auto_cancel_pending_pipelines"] == setting
    first, again = pushed(desk, ref, ci=CI), push(desk, ref)
    newest = pushed(desk, ref, ci=CI, other="a: b")
    assert again is not None
    assert (first.status, again.status, newest.status) == (older, older, Status.PENDING)


RULES = "variables: {TRUNK: trunk}\njob: {script: x}\n" + "".join(
    f"{name}: {{script: x, {how}}}\n"
    for name, how in {
        "changed": "rules: [{changes: [a.yml]}]",
        "other": "rules: [{changes: [b.yml]}]",
        "only": "only: {changes: [b.yml]}",
        "except": "except: {changes: [b.yml]}",
        "since": "rules: [{changes: {paths: [b.yml], compare_to: $TRUNK}}]",
        "theirs": "rules: [{changes: {paths: [c.yml], compare_to: trunk}}]",
    }.items()
)


@pytest.mark.parametrize(
    ("old", "ref", "expected"),
    [
        pytest.param(None, "heads/main", "job changed except since", id="a branch moved"),
        pytest.param(NO_SHA, "heads/main", "job changed other only since", id="a new branch"),
        pytest.param(None, "tags/v1", "job changed other only since", id="a tag"),
        pytest.param("1" * 40, "heads/main", "job changed other only since", id="gone before"),
    ],
)
def test_rules_see_what_the_push_changed(
    desk: Desk, old: str | None, ref: str, expected: str
) -> None:
    base = commit(desk, ref="heads/trunk", ci=RULES, a="1", b="1")
    commit(desk, ref="heads/trunk", parent=base, c="1")
    before = commit(desk, parent=base, b="2")
    pipeline = pushed(desk, ref, old=old or before, parent=before, a="2")
    assert " ".join(pipeline.latest) == expected


def test_the_pushers_terminal_shows_the_pipeline_its_warnings_and_its_error(desk: Desk) -> None:
    url = "  http://x/acme/demo/-/pipelines"
    ci = "unit: {script: x, coverage: /x/}\nlint: {script: x}\n"
    _, title, warning, link = push_report(pushed(desk, ci=ci), "http://x")
    assert (title, link) == ("Pipeline 1 for main: 2 jobs", f"{url}/1")
    assert warning.startswith("  warning: .gitlab-ci.yml line 1: jobs:unit:coverage: ")
    _, title, error, link = push_report(pushed(desk, ci="job: {scirpt: x}\n"), "http://x")
    assert (title, link) == ("Pipeline 2 cannot run:", f"{url}/2")
    assert "jobs:job: script is missing" in error
    skipped = pushed(desk, ci="child: {trigger: acme/other}\n")
    assert skipped.status is Status.SKIPPED
    assert "line 1: jobs:child:trigger: no other pipeline" in str(skipped.warnings)


@pytest.mark.parametrize(("ref", "is_there"), [("main", True), ("feature", False)])
def test_protected_variables_are_for_protected_refs(desk: Desk, ref: str, is_there: bool) -> None:
    variable = {"key": "KEY", "value": "x", "protected": True}
    desk.answer("POST", "/projects/1/variables", json=variable)
    ci = "unit: {script: x}\nsees: {script: x, rules: [{if: $KEY}]}\n"
    commit(desk, ci=ci, ref=f"heads/{ref}")
    made = asked(desk, ref=ref).json()
    assert ("sees" in desk.world.ci.pipelines[made["id"]].latest) is is_there
    assert ("KEY" in sent(desk)) is is_there


def test_a_pipelines_own_variable_may_be_a_file_and_wins(desk: Desk) -> None:
    desk.answer("POST", "/projects/1/variables", json={"key": "KEY", "value": "project"})
    commit(desk, ci=CI)
    asked(desk, variables=[{"key": "KEY", "value": "given", "variable_type": "file"}])
    variable = sent(desk)["KEY"]
    assert (variable["value"], variable["file"]) == ("given", True)


# --- merge requests

MERGED = """
both: {script: x, rules: [{when: on_success}]}
mine: {script: x, rules: [{if: '$CI_PIPELINE_SOURCE == "merge_request_event"'}]}
old: {script: x, only: [merge_requests]}
branch: {script: x}
"""
WANTED = {"source_branch": "work", "target_branch": "main", "title": "Draft: Do it"}
ABOUT = """
CI_PIPELINE_SOURCE=merge_request_event
CI_COMMIT_REF_NAME=work
CI_COMMIT_REF_PROTECTED=false
CI_COMMIT_BEFORE_SHA=0000000000000000000000000000000000000000
CI_MERGE_REQUEST_IID=1
CI_MERGE_REQUEST_EVENT_TYPE=detached
CI_MERGE_REQUEST_REF_PATH=refs/merge-requests/1/head
CI_MERGE_REQUEST_SOURCE_BRANCH_NAME=work
CI_MERGE_REQUEST_TARGET_BRANCH_NAME=main
CI_MERGE_REQUEST_TARGET_BRANCH_PROTECTED=true
CI_MERGE_REQUEST_TITLE=Draft: Do it
CI_MERGE_REQUEST_DRAFT=true
CI_MERGE_REQUEST_DESCRIPTION=why
CI_MERGE_REQUEST_LABELS=a,b
CI_MERGE_REQUEST_PROJECT_PATH=acme/demo
CI_MERGE_REQUEST_SOURCE_BRANCH_SHA=
CI_OPEN_MERGE_REQUESTS=acme/demo!1
"""


@pytest.fixture
def branches(desk: Desk) -> Desk:
    """A desk whose project has the branches `main` and `work`."""
    commit(desk, ci=MERGED)
    commit(desk, ci=MERGED, other="a: b", ref="heads/work")
    return desk


def test_its_jobs_get_its_variables_and_its_commit(branches: Desk) -> None:
    branches.answer("POST", REQUESTS, json={**WANTED, "labels": "a, b", "description": "why"})
    body = branches.ask(branches.register()).json()
    shown = {f"{item['key']}={item['value']}" for item in body["variables"]}
    assert set(ABOUT.split("\n")[1:-1]) <= shown
    assert not any(line.startswith("CI_COMMIT_BRANCH=") for line in shown)
    sha = branches.project.refs["refs/heads/work"]
    assert (body["git_info"]["sha"], body["git_info"]["ref_type"]) == (sha, "branch")
    assert body["git_info"]["refspecs"] == ["+refs/pipelines/1:refs/pipelines/1"]
    assert body["git_info"]["protected"] is False
    assert read_refs(branches.project.repository)["refs/merge-requests/1/head"] == sha


def test_a_push_to_its_branch_starts_another_pipeline(branches: Desk) -> None:
    project, root = branches.project, branches.world.root
    branches.answer("POST", REQUESTS, json=WANTED)
    sha = commit(branches, ci=MERGED, other="c: d", ref="heads/work")
    (newer,) = branches.run(note_push(branches.world, project, "work", user=root))
    assert (newer.commit.sha, newer.source) == (sha, "merge_request_event")
    assert project.merge_requests[1].diffs == 2
    assert project.refs["refs/merge-requests/1/head"] == sha
    listed = branches.answer("GET", f"{REQUESTS}/1/pipelines")
    assert [item["status"] for item in listed] == ["pending", "canceled"]
    assert branches.run(note_push(branches.world, project, "main", user=root)) == []


def test_a_branch_pipeline_knows_the_open_merge_requests_of_its_branch(branches: Desk) -> None:
    branches.answer("POST", REQUESTS, json=WANTED)
    pipeline = push(branches, "heads/work")
    assert pipeline is not None
    assert set(pipeline.latest) == {"both", "branch"}
    branches.answer("PUT", f"{REQUESTS}/1", json={"state_event": "close"})
    assert branches.call("POST", f"{REQUESTS}/1/pipelines").status_code == 400
    work, root = branches.project, branches.world.root
    assert branches.run(note_push(branches.world, work, "work", user=root)) == []
    branches.answer("PUT", f"{REQUESTS}/1", json={"state_event": "reopen", "title": "Do it"})
    assert branches.answer("POST", f"{REQUESTS}/1/pipelines")["source"] == "merge_request_event"
    assert branches.answer("GET", f"{REQUESTS}/1")["draft"] is False


def test_where_no_job_wants_merge_requests_there_is_no_pipeline(desk: Desk) -> None:
    for ref in ("heads/main", "heads/work"):
        commit(desk, ci=CI, other=f"a: {ref}", ref=ref)
    desk.answer("POST", REQUESTS, json=WANTED)
    assert desk.answer("GET", f"{REQUESTS}/1/pipelines") == []
    refused = desk.call("POST", f"{REQUESTS}/1/pipelines")
    assert (refused.status_code, "will not run" in refused.text) == (400, True)


def test_what_cannot_be_merged_is_refused(branches: Desk) -> None:
    branches.answer("POST", REQUESTS, json=WANTED)
    for body, status, says in (
        ({"source_branch": "gone"}, 400, 'Source branch \\"gone\\" does not exist'),
        ({"target_branch": "gone"}, 400, 'Target branch \\"gone\\" does not exist'),
        ({"target_branch": "work"}, 409, "same project/branch"),
        ({"target_project_id": 9}, 400, "target_project_id: merge requests between two projects"),
        ({}, 409, "Another open merge request already exists for this source branch: !1"),
    ):
        refused = branches.call("POST", REQUESTS, json={**WANTED, **body})
        assert (refused.status_code, says in refused.text) == (status, True), refused.text
    assert branches.call("GET", f"{REQUESTS}/7").status_code == 404
