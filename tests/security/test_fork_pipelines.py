"""No pipeline of a fork's merge request gets a machine of a `protected_only` pool."""

from typing import Any

import pytest

from adapters.gitlab.ref_protection import RefProtection, ValueT
from adapters.gitlab.values import GitLabMergeRequest, GitLabMergeRules, GitLabRef
from tests.fakes import Clock, FakeGitLab
from tests.unit.orchestrator.scene import GITLAB, Scene

PARENT, FORK = 7, 9
POOLS = """
[pools.safe]
backend = "tests"
tags = ["docker", "deploy"]
ceiling = 5
protected_only = true

[pools.open]
backend = "tests"
tags = ["docker"]
ceiling = 5
"""


class ForkedGitLab(FakeGitLab):
    """A parent whose `main` is protected, and a fork; the real code asks about their refs."""

    def __init__(self, merge_request: GitLabMergeRequest | None) -> None:
        super().__init__()
        self.merge_request = merge_request
        self.protection = RefProtection(self._look, Clock())

    def _look(self, kind: type[ValueT], path: str) -> ValueT | None:
        answers: dict[str, Any] = {
            f"/projects/{PARENT}/repository/branches/main": GitLabRef(name="main", protected=True),
            f"/projects/{FORK}/repository/branches/main": GitLabRef(name="main", protected=False),
            f"/projects/{PARENT}/merge_requests/1": self.merge_request,
            f"/projects/{PARENT}": GitLabMergeRules(id=PARENT, protects=True),
        }
        answer = answers.get(path)
        assert answer is None or isinstance(answer, kind)
        return answer

    def is_protected(self, project_id: int, ref: str, *, is_tag: bool) -> bool | None:
        return self.protection.of(project_id, ref, is_tag=is_tag)


def between(source: int, target: int) -> GitLabMergeRequest:
    """A merge request of `main`, which is the name of the parent's protected branch, too."""
    return GitLabMergeRequest(
        iid=1,
        source_project_id=source,
        target_project_id=target,
        source_branch="main",
        target_branch="main",
    )


def pools(project_id: int, ref: str, merge_request: GitLabMergeRequest | None) -> list[str | None]:
    """The pools of two jobs, tagged for either pool and for the protected one alone."""
    scene = Scene(text=GITLAB + POOLS, gitlab=ForkedGitLab(merge_request))
    for job_id, tag in ((1, "docker"), (2, "deploy")):
        scene.waits(job_id, tags=(tag,), ref=ref, project_id=project_id)
    scene.scale()
    names = [record.tags for record in scene.gitlab.wanted.values()]
    assert (("docker", "deploy") in names) is (scene.job(1).pool == "safe")
    return [scene.job(job_id).pool for job_id in (1, 2)]


@pytest.mark.parametrize("kind", ["head", "merge", "train"])
@pytest.mark.parametrize(("source", "target"), [(FORK, PARENT), (PARENT, FORK), (FORK, FORK)])
def test_a_forks_merge_request_run_in_the_parent_is_not_protected(
    kind: str, source: int, target: int
) -> None:
    ref = f"refs/merge-requests/1/{kind}"
    assert pools(PARENT, ref, between(source, target)) == ["open", None]


@pytest.mark.parametrize("kind", ["head", "merge", "train"])
def test_the_parents_own_merge_request_between_protected_branches_is(kind: str) -> None:
    ref = f"refs/merge-requests/1/{kind}"
    assert pools(PARENT, ref, between(PARENT, PARENT)) == ["safe", "safe"]


def test_a_forks_branch_with_the_parents_name_is_not_protected() -> None:
    assert pools(PARENT, "main", None) == ["safe", "safe"]
    assert pools(FORK, "main", None) == ["open", None]


@pytest.mark.parametrize(
    "ref",
    [
        "refs/merge-requests/1/head",  # the parent's number, not the fork's
        "refs/merge-requests/2/merge",
        "refs/heads/main",
        "refs/workloads/1",
        "refs/merge-requests/1/head/../../../heads/main",
    ],
)
def test_a_ref_that_the_fork_does_not_show_is_not_protected(ref: str) -> None:
    assert pools(FORK, ref, between(PARENT, PARENT)) == ["open", None]


def test_runner_records_of_the_pool_take_protected_jobs_only() -> None:
    """So a job that the fleet takes for a protected one gets no runner of the pool either."""
    scene = Scene(text=GITLAB + POOLS, gitlab=ForkedGitLab(None))
    scene.push(1, tags=("deploy",), ref="main")
    scene.route(1)
    scene.scale()
    (record,) = scene.gitlab.wanted.values()
    assert record.protected_only
