"""From a commit in a repository to its pipeline, or to the reason why there is none."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from local.gitlab.model import NO_SHA, Pipeline, Role
from local.gitlab.repository import create_repository, git_environment, read_refs
from local.gitlab.states import Status
from local.gitlab.trigger import RefChange, Wish, push_report, start_pipeline
from tests.unit.local.gitlab.desk import Desk

CI = "unit: {script: make test}\n"
CREATE = "/projects/1/pipeline"


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


def push(desk: Desk, ref: str = "heads/main", *, source: str = "push") -> Pipeline | None:
    """What GitLab makes of a ref that was pushed as it is now."""
    name = f"refs/{ref}"
    change = RefChange(name=name, old=NO_SHA, new=desk.project.refs[name])
    wish = Wish(project=desk.project, change=change, source=source, user=desk.world.root)
    return desk.run(start_pipeline(desk.world, wish))


def asked(desk: Desk, **body: Any) -> Any:
    return desk.call("POST", CREATE, json={"ref": "main", **body})


def test_a_push_makes_a_pipeline_of_the_commit(desk: Desk) -> None:
    sha = commit(desk, ci=CI)
    pipeline = push(desk)
    assert pipeline is not None
    assert (pipeline.commit.sha, pipeline.source, pipeline.ref) == (sha, "push", "main")
    assert [job.status for job in pipeline.jobs.values()] == [Status.PENDING]
    assert pipeline.commit.message == "Change it\n"
    assert pipeline.commit.author_name == "Dana Roe"


def test_the_commit_stays_fetchable_under_the_pipelines_own_ref(desk: Desk) -> None:
    sha = commit(desk, ci=CI)
    push(desk)
    assert desk.project.refs["refs/pipelines/1"] == sha
    assert read_refs(desk.project.repository)["refs/pipelines/1"] == sha
    body = desk.ask(desk.register()).json()
    assert "+refs/pipelines/1:refs/pipelines/1" in body["git_info"]["refspecs"]


def test_without_a_ci_file_there_is_none(desk: Desk) -> None:
    commit(desk, other=CI)
    assert push(desk) is None
    refused = asked(desk)
    assert (refused.status_code, desk.world.ci.pipelines) == (400, {})
    assert "will not run" in refused.text


def test_the_ci_file_may_be_another(desk: Desk) -> None:
    commit(desk, ci="broken", other="lint: {script: x}")
    desk.project.ci_config_path = "other.yml"
    pipeline = push(desk)
    assert pipeline is not None
    assert list(pipeline.latest) == ["lint"]


def test_when_no_job_applies_there_is_none(desk: Desk) -> None:
    commit(desk, ci="unit: {script: x, only: [tags]}\n")
    assert push(desk) is None
    assert "refs/pipelines/1" not in desk.project.refs


def test_a_ci_file_that_cannot_be_read_makes_a_failed_one(desk: Desk) -> None:
    commit(desk, ci="unit: {script: x, scirpt: x}\n")
    pipeline = push(desk)
    assert pipeline is not None
    assert (pipeline.status, pipeline.jobs) == (Status.FAILED, {})
    assert pipeline.yaml_errors == ".gitlab-ci.yml line 1: jobs:unit: unsupported key 'scirpt'"
    refused = asked(desk)
    assert (refused.status_code, refused.json()) == (
        400,
        {"message": {"base": [pipeline.yaml_errors]}},
    )


@pytest.mark.parametrize("mark", ["[ci skip]", "[skip ci]", "[CI-Skip]", "[skip_ci]"])
def test_a_message_skips_a_push_but_not_a_wish_over_the_api(desk: Desk, mark: str) -> None:
    commit(desk, ci=CI, message=f"Change it {mark}")
    pipeline = push(desk)
    assert pipeline is not None
    assert (pipeline.status, pipeline.jobs) == (Status.SKIPPED, {})
    made = asked(desk)
    assert (made.status_code, made.json()["status"]) == (201, "pending")


@pytest.mark.parametrize("message", ["ci skip", "[ci  skip]", "[skipci]"])
def test_other_messages_skip_nothing(desk: Desk, message: str) -> None:
    commit(desk, ci=CI, message=message)
    pipeline = push(desk)
    assert pipeline is not None
    assert pipeline.status is Status.PENDING


def test_a_pipeline_over_the_api_has_its_source_and_its_variables(desk: Desk) -> None:
    rules = '[{if: \'$CI_PIPELINE_SOURCE == "api" && $WHAT == "all"\'}]'
    commit(desk, ci=f"unit: {{script: x, rules: {rules}}}\n")
    assert asked(desk).status_code == 400
    made = asked(desk, variables=[{"key": "WHAT", "value": "all"}])
    assert (made.status_code, made.json()["source"]) == (201, "api")
    told = desk.ask(desk.register()).json()["variables"]
    assert {one["key"]: one["value"] for one in told}["WHAT"] == "all"


def test_a_tag_is_a_ref_of_its_own_kind(desk: Desk) -> None:
    commit(desk, ci="unit: {script: x, only: [tags]}\n", ref="tags/v1")
    made = desk.call("POST", CREATE, json={"ref": "v1"})
    assert (made.status_code, made.json()["tag"], made.json()["ref"]) == (201, True, "v1")


@pytest.mark.parametrize(
    ("setting", "ref", "older"),
    [
        ("enabled", "heads/main", Status.CANCELED),
        ("disabled", "heads/main", Status.PENDING),
        ("enabled", "tags/v1", Status.CANCELED),
    ],
)
def test_a_newer_commit_of_a_ref_cancels_the_older_ones_pipeline_unless_that_is_off(
    desk: Desk, setting: str, ref: str, older: Status
) -> None:
    body = {"auto_cancel_pending_pipelines": setting}
    assert desk.answer("PUT", "/projects/1", json=body)["auto_cancel_pending_pipelines"] == setting
    commit(desk, ci=CI, ref=ref)
    first, again = push(desk, ref), push(desk, ref)
    commit(desk, ci=CI, other="a: b", ref=ref)
    newest = push(desk, ref)
    for pipeline, status in ((first, older), (again, older), (newest, Status.PENDING)):
        assert pipeline is not None
        assert pipeline.status is status


def test_a_reporter_asks_for_no_pipeline(desk: Desk) -> None:
    commit(desk, ci=CI)
    for name, status in (("REPORTER", 403), ("DEVELOPER", 201)):
        _, token = desk.person(Role[name])
        answer = desk.call("POST", CREATE, token=token, json={"ref": "main"})
        assert answer.status_code == status


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
        pytest.param(NO_SHA, "tags/v1", "job changed other only since", id="a tag"),
        pytest.param("1" * 40, "heads/main", "job changed other only since", id="gone before"),
    ],
)
def test_rules_see_what_the_push_changed(
    desk: Desk, old: str | None, ref: str, expected: str
) -> None:
    base = commit(desk, ref="heads/trunk", ci=RULES, a="1", b="1")
    commit(desk, ref="heads/trunk", parent=base, c="1")
    before = commit(desk, parent=base, b="2")
    after = commit(desk, ref=ref, parent=before, a="2")
    change = RefChange(name=f"refs/{ref}", old=old or before, new=after)
    wish = Wish(project=desk.project, change=change, source="push", user=desk.world.root)
    pipeline = desk.run(start_pipeline(desk.world, wish))
    assert pipeline is not None
    assert " ".join(pipeline.latest) == expected


def test_a_file_of_triggers_alone_says_so(desk: Desk) -> None:
    commit(desk, ci="child: {trigger: acme/other}\n")
    pipeline = push(desk)
    assert pipeline is not None
    assert pipeline.status is Status.SKIPPED
    assert "line 1: jobs:child:trigger: no other pipeline" in str(pipeline.warnings)


def test_warnings_are_told_to_who_pushes(desk: Desk) -> None:
    commit(desk, ci="unit: {script: x, coverage: /x/}\n")
    pipeline = push(desk)
    assert pipeline is not None
    (line,) = (line for line in push_report(pipeline, "http://x") if "warning" in line)
    assert line.startswith("  warning: .gitlab-ci.yml line 1: jobs:unit:coverage: ")
