"""Which projects a job token may read: by the lists of the project and the role of its user."""

from typing import Any

import pytest

from local.gitlab.job_tokens import reading_is_allowed, user_may_read
from local.gitlab.model import Job, Project, Role
from tests.unit.local.gitlab.desk import Desk

SCOPE = "/projects/2/job_token_scope"


IN_PROJECTS = ("POST", "/allowlist", {"target_project_id": 1})
IN_GROUPS = ("POST", "/groups_allowlist", {"target_group_id": 1})


def sibling(desk: Desk) -> tuple[Job, Project]:
    """A running job of project 1, and the private project 2 beside it."""
    return desk.running(), desk.add_project("lib")


@pytest.mark.parametrize(
    ("calls", "allowed"),
    [
        pytest.param([], False, id="no list"),
        pytest.param([IN_PROJECTS], True, id="its project"),
        pytest.param([IN_GROUPS], True, id="its group"),
        pytest.param([("PATCH", "", {"enabled": False})], True, id="lists switched off"),
        pytest.param([IN_PROJECTS, ("DELETE", "/allowlist/1", None)], False, id="removed"),
        pytest.param(
            [IN_GROUPS, ("DELETE", "/groups_allowlist/1", None)], False, id="group removed"
        ),
    ],
)
def test_a_project_admits_the_jobs_of_its_lists(
    desk: Desk, calls: list[tuple[str, str, Any]], allowed: bool
) -> None:
    job, project = sibling(desk)
    for method, path, body in calls:
        reply = desk.call(method, f"{SCOPE}{path}", json=body)
        assert reply.status_code == (201 if method == "POST" else 204), reply.text
    assert reading_is_allowed(job, project) is allowed
    assert reading_is_allowed(job, desk.project)


def test_a_token_does_no_more_than_its_user(desk: Desk) -> None:
    job, project = sibling(desk)
    job.user, _ = desk.person(Role.DEVELOPER)
    assert user_may_read(job, desk.project)
    assert not user_may_read(job, project)
    project.members[job.user.id] = Role.REPORTER
    assert user_may_read(job, project)
