"""Merge requests: what can be made, and the pipelines that they start."""

from __future__ import annotations

from typing import Any

import pytest

from local.gitlab.merge_requests import note_push
from local.gitlab.repository import read_refs
from tests.unit.local.gitlab.desk import Desk
from tests.unit.local.gitlab.test_start_pipeline import commit, push

ALL = "/projects/1/merge_requests"
CI = """
both: {script: x, rules: [{when: on_success}]}
mine: {script: x, rules: [{if: '$CI_PIPELINE_SOURCE == "merge_request_event"'}]}
old: {script: x, only: [merge_requests]}
branch: {script: x}
"""
WANTED = {"source_branch": "work", "target_branch": "main", "title": "Draft: Do it"}


@pytest.fixture
def with_branches(desk: Desk) -> Desk:
    commit(desk, ci=CI)
    commit(desk, ci=CI, other="a: b", ref="heads/work")
    return desk


def variables(body: Any) -> dict[str, str]:
    return {item["key"]: item["value"] for item in body["variables"]}


def test_its_jobs_get_its_variables_and_its_commit(with_branches: Desk) -> None:
    desk = with_branches
    desk.answer("POST", ALL, json={**WANTED, "labels": "a, b", "description": "why"})
    body = desk.ask(desk.register()).json()
    sent = variables(body)
    assert "CI_COMMIT_BRANCH" not in sent
    expected = {
        "CI_PIPELINE_SOURCE": "merge_request_event",
        "CI_COMMIT_REF_NAME": "work",
        "CI_COMMIT_REF_PROTECTED": "false",
        "CI_COMMIT_BEFORE_SHA": "0" * 40,
        "CI_MERGE_REQUEST_IID": "1",
        "CI_MERGE_REQUEST_EVENT_TYPE": "detached",
        "CI_MERGE_REQUEST_REF_PATH": "refs/merge-requests/1/head",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "work",
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
        "CI_MERGE_REQUEST_TARGET_BRANCH_PROTECTED": "true",
        "CI_MERGE_REQUEST_TITLE": "Draft: Do it",
        "CI_MERGE_REQUEST_DRAFT": "true",
        "CI_MERGE_REQUEST_DESCRIPTION": "why",
        "CI_MERGE_REQUEST_LABELS": "a,b",
        "CI_MERGE_REQUEST_PROJECT_PATH": "acme/demo",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": "",
        "CI_OPEN_MERGE_REQUESTS": "acme/demo!1",
    }
    assert {key: sent.get(key) for key in expected} == expected
    sha = desk.project.refs["refs/heads/work"]
    assert (body["git_info"]["sha"], body["git_info"]["ref_type"]) == (sha, "branch")
    assert body["git_info"]["refspecs"] == ["+refs/pipelines/1:refs/pipelines/1"]
    assert body["git_info"]["protected"] is False
    assert read_refs(desk.project.repository)["refs/merge-requests/1/head"] == sha


def test_a_push_to_its_branch_starts_another_pipeline(with_branches: Desk) -> None:
    desk = with_branches
    desk.answer("POST", ALL, json=WANTED)
    sha = commit(desk, ci=CI, other="c: d", ref="heads/work")
    (newer,) = desk.run(note_push(desk.world, desk.project, "work", user=desk.world.root))
    assert (newer.commit.sha, newer.source) == (sha, "merge_request_event")
    assert desk.project.refs["refs/merge-requests/1/head"] == sha
    assert [str(item["status"]) for item in desk.answer("GET", f"{ALL}/1/pipelines")] == [
        "pending",
        "canceled",
    ]
    assert desk.run(note_push(desk.world, desk.project, "main", user=desk.world.root)) == []


def test_a_branch_pipeline_knows_the_open_merge_requests_of_its_branch(with_branches: Desk) -> None:
    desk = with_branches
    desk.answer("POST", ALL, json=WANTED)
    pipeline = push(desk, "heads/work")
    assert pipeline is not None
    assert set(pipeline.latest) == {"both", "branch"}
    desk.answer("PUT", f"{ALL}/1", json={"state_event": "close"})
    assert desk.call("POST", f"{ALL}/1/pipelines").status_code == 400
    desk.answer("PUT", f"{ALL}/1", json={"state_event": "reopen", "title": "Do it"})
    made = desk.answer("POST", f"{ALL}/1/pipelines")
    assert made["source"] == "merge_request_event"
    assert desk.answer("GET", f"{ALL}/1")["draft"] is False


def test_where_no_job_wants_merge_requests_there_is_no_pipeline(desk: Desk) -> None:
    commit(desk, ci="unit: {script: x}\n")
    commit(desk, ci="unit: {script: x}\n", other="a: b", ref="heads/work")
    desk.answer("POST", ALL, json=WANTED)
    assert desk.answer("GET", f"{ALL}/1/pipelines") == []
    refused = desk.call("POST", f"{ALL}/1/pipelines")
    assert (refused.status_code, "will not run" in refused.text) == (400, True)


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"source_branch": "gone"}, 400, 'Source branch \\"gone\\" does not exist'),
        ({"target_branch": "gone"}, 400, 'Target branch \\"gone\\" does not exist'),
        ({"target_branch": "work"}, 409, "same project/branch"),
        ({"target_project_id": 9}, 400, "target_project_id: merge requests between two projects"),
        ({}, 409, "Another open merge request already exists for this source branch: !1"),
    ],
)
def test_what_cannot_be_merged_is_refused(
    with_branches: Desk, body: dict[str, Any], status: int, says: str
) -> None:
    if not body:
        with_branches.answer("POST", ALL, json=WANTED)
    refused = with_branches.call("POST", ALL, json={**WANTED, **body})
    assert refused.status_code == status
    assert says in refused.text
    assert with_branches.call("GET", f"{ALL}/7").status_code == 404
