"""From a push or an API call to a pipeline, or to the reason why there is none."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from local.gitlab.model import NO_SHA, Pipeline
from local.gitlab.repository import create_repository, git_environment, read_refs
from local.gitlab.states import Status
from local.gitlab.trigger import RefChange, Wish, changed_refs, push_report, start_pipeline
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
    """The pipeline that a push of the ref starts."""
    name = f"refs/{ref}"
    change = RefChange(name=name, old=NO_SHA, new=desk.project.refs[name])
    wish = Wish(project=desk.project, change=change, source=source, user=desk.world.root)
    return desk.run(start_pipeline(desk.world, wish))


def asked(desk: Desk, **body: Any) -> Any:
    return desk.call("POST", CREATE, json={"ref": "main", **body})


def test_a_push_makes_a_pipeline_and_keeps_its_commit_fetchable(desk: Desk) -> None:
    sha = commit(desk, ci=CI)
    pipeline = push(desk)
    assert pipeline is not None
    assert (pipeline.commit.sha, pipeline.source, pipeline.ref) == (sha, "push", "main")
    assert [job.status for job in pipeline.jobs.values()] == [Status.PENDING]
    assert pipeline.commit.message == "Change it\n"
    assert pipeline.commit.author_name == "Dana Roe"
    assert desk.project.refs["refs/pipelines/1"] == sha
    assert read_refs(desk.project.repository)["refs/pipelines/1"] == sha
    body = desk.ask(desk.register()).json()
    assert "+refs/pipelines/1:refs/pipelines/1" in body["git_info"]["refspecs"]


@pytest.mark.parametrize(
    "files", [{"other": CI}, {"ci": "unit: {script: x, only: [tags]}\n"}], ids=["no file", "no job"]
)
def test_a_commit_without_a_selected_job_makes_no_pipeline(
    desk: Desk, files: dict[str, str]
) -> None:
    commit(desk, **files)
    assert push(desk) is None
    refused = asked(desk)
    assert (refused.status_code, desk.world.ci.pipelines) == (400, {})
    assert "will not run" in refused.text
    assert "refs/pipelines/1" not in desk.project.refs


def test_a_ci_file_with_an_error_makes_a_failed_pipeline(desk: Desk) -> None:
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


@pytest.mark.parametrize(
    ("message", "status"),
    [
        *((f"Change it {mark}", Status.SKIPPED) for mark in ("[ci skip]", "[skip ci]")),
        *((f"Change it {mark}", Status.SKIPPED) for mark in ("[CI-Skip]", "[skip_ci]")),
        *((message, Status.PENDING) for message in ("ci skip", "[ci  skip]", "[skipci]")),
    ],
)
def test_a_message_skips_a_push_but_no_pipeline_over_the_api(
    desk: Desk, message: str, status: Status
) -> None:
    commit(desk, ci=CI, message=message)
    pipeline = push(desk)
    assert pipeline is not None
    assert (pipeline.status, len(pipeline.jobs)) == (status, int(status is Status.PENDING))
    assert asked(desk).json()["status"] == "pending"


def test_a_pipeline_over_the_api_may_be_of_a_tag(desk: Desk) -> None:
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
def test_a_newer_commit_cancels_the_pipelines_of_older_ones_unless_that_is_off(
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


def test_a_file_of_triggers_alone_makes_a_skipped_pipeline_with_a_warning(desk: Desk) -> None:
    commit(desk, ci="child: {trigger: acme/other}\n")
    pipeline = push(desk)
    assert pipeline is not None
    assert pipeline.status is Status.SKIPPED
    assert "line 1: jobs:child:trigger: no other pipeline" in str(pipeline.warnings)


A, B = "a" * 40, "b" * 40


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        pytest.param({}, {"refs/heads/main": A}, [("main", NO_SHA, A, False)], id="new branch"),
        pytest.param({}, {"refs/tags/v1": A}, [("v1", NO_SHA, A, True)], id="new tag"),
        pytest.param(
            {"refs/heads/a": A, "refs/heads/same": A, "refs/heads/deleted": A},
            {"refs/heads/a": B, "refs/heads/b/c": B, "refs/heads/same": A, "refs/pipelines/1": A},
            [("a", A, B, False), ("b/c", NO_SHA, B, False)],
            id="several",
        ),
    ],
)
def test_a_push_changes_refs_that_are_new_or_moved(
    before: dict[str, str], after: dict[str, str], changes: list[tuple[str, str, str, bool]]
) -> None:
    refs = [(c.short_name, c.old, c.new, c.is_tag) for c in changed_refs(before, after)]
    assert refs == changes


def test_the_pushers_terminal_shows_the_pipeline_its_warnings_and_its_error(desk: Desk) -> None:
    commit(desk, ci="unit: {script: x, coverage: /x/}\nlint: {script: x}\n")
    url = "  http://x/acme/demo/-/pipelines"
    _, title, warning, link = report(desk)
    assert (title, link) == ("Pipeline 1 for main: 2 jobs", f"{url}/1")
    assert warning.startswith("  warning: .gitlab-ci.yml line 1: jobs:unit:coverage: ")
    commit(desk, ci="job: {scirpt: x}\n")
    _, title, error, link = report(desk)
    assert (title, link) == ("Pipeline 2 cannot run:", f"{url}/2")
    assert "jobs:job: script is missing" in error


def report(desk: Desk) -> list[str]:
    pipeline = push(desk)
    assert pipeline is not None
    return push_report(pipeline, "http://x")
