"""Whether a job counts as protected, asked of GitLab's own answers about its ref."""

from typing import Any

import pytest

from adapters.gitlab.client import GitLab
from fleet.errors import FleetError, Refused, Transient
from tests.fakes import Clock
from tests.unit.adapters.fake_gitlab import FakeGitLab

BRANCHES = "/projects/77/repository/branches/"
TAGS = "/projects/77/repository/tags/"
MERGE_REQUEST = {
    "iid": 12,
    "source_branch": "release/2",
    "target_branch": "main",
    "source_project_id": 77,
    "target_project_id": 77,
}
SETTING = "protect_merge_request_pipelines"


@pytest.mark.parametrize("protected", [True, False])
@pytest.mark.parametrize(
    ("path", "ref", "is_tag"),
    [
        (f"{BRANCHES}main", "main", False),
        (f"{BRANCHES}release%2F2%231", "release/2#1", False),
        (f"{TAGS}v1.0", "v1.0", True),
        (f"{TAGS}main", "main", True),  # a tag of a branch's name
    ],
)
def test_gitlab_itself_answers_for_branches_and_tags(
    fake: FakeGitLab, gitlab: GitLab, *, path: str, ref: str, is_tag: bool, protected: bool
) -> None:
    fake.answers("GET", path, {"name": ref, "protected": protected})
    assert gitlab.is_protected(77, ref, is_tag=is_tag) is protected


@pytest.mark.parametrize(
    ("facts", "branches", "project", "expected"),
    [
        ({}, {"release/2": True, "main": True}, {SETTING: True}, True),
        ({}, {"release/2": True, "main": True}, {SETTING: False}, False),
        ({}, {"release/2": True, "main": True}, {}, None),  # older, or hidden from the token
        ({}, {"release/2": False, "main": True}, {SETTING: True}, False),
        ({}, {"release/2": True, "main": False}, {SETTING: True}, False),
        ({}, {"main": True}, {SETTING: True}, None),  # its branch is gone
        ({"source_project_id": 78}, {"release/2": True, "main": True}, {SETTING: True}, False),
        ({"source_project_id": None}, {"release/2": True, "main": True}, {SETTING: True}, False),
        ({"target_project_id": 78}, {"release/2": True, "main": True}, {SETTING: True}, False),
        (None, {}, {}, None),
    ],
)
def test_a_merge_request_is_as_safe_as_both_of_its_branches(
    fake: FakeGitLab,
    gitlab: GitLab,
    *,
    facts: dict[str, Any] | None,
    branches: dict[str, bool],
    project: dict[str, bool],
    expected: bool | None,
) -> None:
    if facts is not None:
        fake.answers("GET", "/projects/77/merge_requests/12", MERGE_REQUEST | facts)
    for name, protected in branches.items():
        quoted = name.replace("/", "%2F")
        fake.answers("GET", f"{BRANCHES}{quoted}", {"name": name, "protected": protected})
    fake.answers("GET", "/projects/77", {"id": 77, **project})
    for kind in ("head", "merge", "train"):
        ref = f"refs/merge-requests/12/{kind}"
        assert gitlab.is_protected(77, ref, is_tag=False) is expected


@pytest.mark.parametrize("ref", ["refs/workloads/5", "refs/merge-requests/12/headless"])
def test_a_ref_of_gitlabs_own_is_not_asked_about(
    fake: FakeGitLab, gitlab: GitLab, ref: str
) -> None:
    assert gitlab.is_protected(77, ref, is_tag=False) is None
    assert fake.requests == []


@pytest.mark.parametrize("status", [200, 403, 404])
def test_what_gitlab_does_not_say_is_not_known(
    fake: FakeGitLab, gitlab: GitLab, status: int
) -> None:
    body = {"name": "v1", "message": "" if status == 200 else f"{status} no"}
    fake.answers("GET", f"{TAGS}v1", body, status=status)
    assert gitlab.is_protected(77, "v1", is_tag=True) is None


@pytest.mark.parametrize("body", [{"name": "main", "protected": "yes"}, {"name": "mine"}])
def test_an_answer_of_another_kind_or_about_another_ref_is_none(
    fake: FakeGitLab, gitlab: GitLab, body: dict[str, object]
) -> None:
    fake.answers("GET", f"{BRANCHES}main", body)
    with pytest.raises(Transient):
        gitlab.is_protected(77, "main", is_tag=False)


@pytest.mark.parametrize(("status", "error"), [(500, Transient), (401, Refused)])
def test_what_is_not_about_the_ref_is_an_error_and_is_asked_again(
    fake: FakeGitLab, gitlab: GitLab, status: int, error: type[FleetError]
) -> None:
    fake.refuses("GET", f"{BRANCHES}main", status)
    with pytest.raises(error):
        gitlab.is_protected(77, "main", is_tag=False)
    fake.answers("GET", f"{BRANCHES}main", {"name": "main", "protected": True})
    with pytest.raises(error):  # the script's first answer is due once more
        gitlab.is_protected(77, "main", is_tag=False)
    assert gitlab.is_protected(77, "main", is_tag=False)


def test_an_answer_is_kept_for_a_minute(fake: FakeGitLab, gitlab: GitLab, clock: Clock) -> None:
    fake.answers("GET", f"{BRANCHES}main", {"name": "main", "protected": False})
    fake.answers("GET", f"{BRANCHES}main", {"name": "main", "protected": True})
    answers = []
    for seconds in (0, 59, 1):
        clock.go(seconds)
        answers.append(gitlab.is_protected(77, "main", is_tag=False))
    assert answers == [False, False, True]
    assert len(fake.requests) == 2
