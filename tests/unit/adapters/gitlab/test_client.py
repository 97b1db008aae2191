import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from adapters.gitlab.client import SYSTEM_ID, GitLab
from adapters.gitlab.values import (
    CreatedRunner,
    GitLabJob,
    GitLabProject,
    GitLabRunner,
    GitLabToken,
    NewRunner,
)
from fleet.errors import Transient
from tests.unit.adapters.fake_gitlab import FakeGitLab

JOB = {
    "id": 90210,
    "name": "unit-tests",
    "stage": "test",
    "status": "pending",
    "ref": "main",
    "tag": False,
    "created_at": "2026-08-20T11:15:01.123+02:00",
    "started_at": None,
    "finished_at": None,
    "queued_duration": 0.41,
    "tag_list": ["docker", "ec2"],
    "runner": None,
    "pipeline": {"id": 5512, "project_id": 77, "status": "running"},
    "project": {"ci_job_token_scope_enabled": False},
    "web_url": "https://gitlab.example.com/acme/demo/-/jobs/90210",
}
READ = GitLabJob(
    id=90210,
    project_id=77,
    name="unit-tests",
    status="pending",
    tags=("docker", "ec2"),
    stage="test",
    pipeline_id=5512,
    ref="main",
    created_at=datetime(2026, 8, 20, 9, 15, 1, 123_000, tzinfo=UTC),
    queued_duration_s=0.41,
    web_url="https://gitlab.example.com/acme/demo/-/jobs/90210",
)
FAILED = {
    "status": "failed",
    "failure_reason": "script_failure",
    "runner": {"id": 31, "description": "rf-small-0123456789ab", "active": True},
}
READ_FAILED = replace(
    READ,
    status="failed",
    failure_reason="script_failure",
    runner_id=31,
    runner_description="rf-small-0123456789ab",
)
LEAST = {"id": 90210, "name": "a", "status": "created"}  # a job that was never queued
READ_LEAST = GitLabJob(id=90210, project_id=77, name="a", status="created")
PROJECT = {
    "id": 77,
    "path": "demo",
    "path_with_namespace": "acme/demo",
    "web_url": "https://gitlab.example.com/acme/demo",
    "default_branch": "main",
}
READ_PROJECT = GitLabProject(
    id=77,
    path="acme/demo",
    web_url="https://gitlab.example.com/acme/demo",
    default_branch="main",
)
RECORD = {
    "id": 31,
    "description": "rf-docker",
    "status": "online",
    "paused": False,
    "runner_type": "group_type",
    "tag_list": ["docker"],
    "run_untagged": True,
    "access_level": "not_protected",
    "maximum_timeout": None,
    "groups": [{"id": 42, "name": "acme"}],
    "projects": [],
}
READ_RECORD = GitLabRunner(
    id=31,
    description="rf-docker",
    status="online",
    runner_type="group_type",
    tags=("docker",),
    run_untagged=True,
    access_level="not_protected",
    group_ids=(42,),
)
MADE = {"id": 31, "token": "glrt-t2_hidden", "token_expires_at": None}
TOKEN = {"scopes": ["api", "create_runner"], "active": False, "expires_at": "2027-01-31"}
READ_TOKEN = GitLabToken(
    scopes=frozenset({"api", "create_runner"}), active=False, expires_at=date(2027, 1, 31)
)
RUNNER = NewRunner(
    kind="group_type",
    owner_id=42,
    description="rf-docker-0123456789ab",
    tags=("docker", "ec2"),
    maximum_timeout_s=3600,
)

THIS = "/projects/77/jobs/90210"
OF_PROJECT = "/projects/77/jobs"
IN_PIPELINE = "/projects/77/pipelines/5512/jobs"
OF_RUNNER = "/runners/31/jobs"
Ask = Callable[[GitLab], Any]


@pytest.mark.parametrize(
    ("line", "body", "ask", "expected"),
    [
        (f"GET {THIS}", JOB, lambda g: g.job(77, 90210), READ),
        (f"GET {THIS}", JOB | FAILED, lambda g: g.job(77, 90210), READ_FAILED),
        # GitLab does not repeat the project of a job that is asked for by its project.
        (f"GET {THIS}", LEAST, lambda g: g.job(77, 90210), READ_LEAST),
        (f"POST {THIS}/retry", LEAST | {"id": 9}, lambda g: g.retry_job(77, 90210),
         replace(READ_LEAST, id=9)),
        (f"POST {THIS}/cancel", LEAST, lambda g: g.cancel_job(77, 90210), READ_LEAST),
        ("GET /runners/31", RECORD, lambda g: g.runner(31), READ_RECORD),
        ("POST /user/runners", MADE, lambda g: g.create_runner(RUNNER),
         CreatedRunner(id=31, token="glrt-t2_hidden")),
        ("GET /projects/77", PROJECT, lambda g: g.project(77), READ_PROJECT),
        ("GET /projects/77", PROJECT, lambda g: g.project("77"), READ_PROJECT),
        ("GET /projects/acme%2Fdemo", PROJECT, lambda g: g.project("acme/demo"), READ_PROJECT),
        ("GET /groups/42", {"id": 42}, lambda g: g.group(42), 42),
        ("GET /groups/acme%2Fa", {"id": 42}, lambda g: g.group("acme/a"), 42),
        ("GET /version", {"version": "19.3.0-ee"}, lambda g: g.version(), "19.3.0-ee"),
        ("GET /personal_access_tokens/self", TOKEN, lambda g: g.own_token(), READ_TOKEN),
        ("GET /user", {"id": 1, "is_admin": True}, lambda g: g.is_administrator(), True),
        ("GET /user", {"id": 1, "is_admin": False}, lambda g: g.is_administrator(), False),
        ("GET /user", {"id": 1}, lambda g: g.is_administrator(), False),
    ],
)  # fmt: skip
def test_an_answer_is_read(
    line: str, body: Any, ask: Ask, *, expected: object, fake: FakeGitLab, gitlab: GitLab
) -> None:
    verb, path = line.split()
    fake.answers(verb, path, body, status=201 if verb == "POST" else 200)
    assert ask(gitlab) == expected


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (lambda g: g.job(77, 1), None),
        (lambda g: g.runner(31), None),
        (lambda g: g.runner_jobs(31), []),
        (lambda g: g.pending_in_pipeline(77, 5512, at_most=10), []),
        (lambda g: g.groups_above(78), ()),  # or it is hidden from this token
        (lambda g: g.delete_runner(31), None),
    ],
)
def test_what_gitlab_does_not_have_is_no_error(ask: Ask, expected: object, gitlab: GitLab) -> None:
    assert ask(gitlab) == expected


@pytest.mark.parametrize(
    ("line", "body", "ask", "fields"),
    [
        (f"GET {THIS}", JOB | {"id": "x", "tag_list": 7}, lambda g: g.job(77, 90210),
         ["id", "tag_list"]),
        (f"GET {THIS}", JOB | {"created_at": "2026-08-20T09:15:01"}, lambda g: g.job(77, 90210),
         ["created_at"]),
        ("GET /runners/31", {"id": 31, "groups": "acme"}, lambda g: g.runner(31), ["groups"]),
        ("POST /user/runners", {"token": MADE["token"]}, lambda g: g.create_runner(RUNNER), ["id"]),
    ],
)  # fmt: skip
def test_an_answer_of_an_unknown_shape_is_no_answer(
    line: str, body: Any, ask: Ask, *, fields: list[str], fake: FakeGitLab, gitlab: GitLab
) -> None:
    verb, path = line.split()
    fake.answers(verb, path, body, status=201 if verb == "POST" else 200)
    with pytest.raises(Transient) as caught:
        ask(gitlab)
    assert caught.value.facts == {"fields": fields}
    assert "hidden" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("path", "ask", "query"),
    [
        (OF_PROJECT, lambda g: g.pending_jobs(77),
         {"scope[]": "pending", "pagination": "keyset", "order_by": "id", "sort": "desc"}),
        (IN_PIPELINE, lambda g: g.pending_in_pipeline(77, 5512, at_most=10),
         {"scope[]": "pending"}),
    ],
)  # fmt: skip
def test_pending_jobs_come_oldest_first_over_all_pages(
    path: str, ask: Ask, query: dict[str, str], fake: FakeGitLab, gitlab: GitLab
) -> None:
    fake.pages(path, [JOB | {"id": 9}, JOB | {"id": 8}], [JOB | {"id": 3}])
    assert [(job.id, job.project_id) for job in ask(gitlab)] == [(3, 77), (8, 77), (9, 77)]
    assert fake.requests[0].query == {name: [value] for name, value in query.items()} | {
        "per_page": ["100"]
    }


@pytest.mark.parametrize(
    ("path", "ask"),
    [
        (OF_PROJECT, lambda g, most: g.pending_jobs(77, at_most=most)),
        (IN_PIPELINE, lambda g, most: g.pending_in_pipeline(77, 5512, at_most=most)),
    ],
)
@pytest.mark.parametrize(("most", "calls"), [(1, 1), (2, 1), (3, 2)])
def test_a_page_of_jobs_that_is_not_needed_is_not_asked_for(
    path: str,
    ask: Callable[[GitLab, int], list[GitLabJob]],
    *,
    most: int,
    calls: int,
    fake: FakeGitLab,
    gitlab: GitLab,
) -> None:
    fake.pages(path, [JOB | {"id": 9}, JOB | {"id": 8}], [JOB | {"id": 7}, JOB | {"id": 6}])
    assert [job.id for job in ask(gitlab, most)] == [9, 8, 7][:most][::-1]
    assert len(fake.requests) == calls


@pytest.mark.parametrize(
    ("path", "ask"),
    [
        (OF_PROJECT, lambda g: g.pending_jobs(77)),
        (IN_PIPELINE, lambda g: g.pending_in_pipeline(77, 5512, at_most=10)),
        (OF_RUNNER, lambda g: g.runner_jobs(31)),
    ],
)
def test_a_page_that_fails_halfway_is_not_the_end_of_the_list(
    path: str, ask: Ask, fake: FakeGitLab, gitlab: GitLab
) -> None:
    fake.answers("GET", path, [JOB | {"id": 9}], headers=fake.following(path))
    fake.refuses("GET", path, 502)
    with pytest.raises(Transient):
        ask(gitlab)
    assert len(fake.requests) == 2


def test_the_jobs_of_a_pipeline(fake: FakeGitLab, gitlab: GitLab) -> None:
    fake.answers("GET", IN_PIPELINE, [JOB, JOB | {"id": 90211}])
    assert [job.id for job in gitlab.pipeline_jobs(77, 5512)] == [90210, 90211]


@pytest.mark.parametrize(
    ("where", "project_id"),
    [
        ({"project": {"id": 78}}, 78),
        ({"project": {"ci_job_token_scope_enabled": False}}, 77),
        ({"project_id": 79, "project": {"id": 78}}, 79),
    ],
)
def test_a_runners_job_has_its_project_where_its_list_has_it(
    where: dict[str, object], project_id: int, fake: FakeGitLab, gitlab: GitLab
) -> None:
    fake.answers("GET", OF_RUNNER, [JOB | where])
    for query, jobs in (
        ({}, gitlab.runner_jobs(31)),  # those that ended, too
        ({"status": ["success"]}, gitlab.runner_jobs(31, status="success")),
    ):
        assert [(job.id, job.project_id) for job in jobs] == [(90210, project_id)]
        assert fake.requests.pop(0).query == {"per_page": ["100"]} | query


@pytest.mark.parametrize("status", ["canceled", "success", "failed"])
def test_a_cancel_is_forced_where_gitlab_would_wait_for_the_runner(
    status: str, fake: FakeGitLab, gitlab: GitLab
) -> None:
    fake.answers("POST", f"{THIS}/cancel", JOB | {"status": status}, status=201)
    assert gitlab.cancel_job(77, 90210).status == status
    assert [request.body for request in fake.requests] == [{}]
    fake.forget()
    fake.answers("POST", f"{THIS}/cancel", JOB | {"status": "canceling"}, status=201)
    fake.answers("POST", f"{THIS}/cancel", JOB | {"status": status}, status=201)
    assert gitlab.cancel_job(77, 90210).status == status
    assert [request.body for request in fake.requests] == [{}, {"force": True}]


def test_the_settings_of_a_runner_record(fake: FakeGitLab, gitlab: GitLab) -> None:
    fake.answers("POST", "/user/runners", MADE, status=201)
    assert "hidden" not in repr(gitlab.create_runner(RUNNER))
    fake.answers("PUT", "/runners/31", {"id": 31})
    gitlab.update_runner(31, RUNNER)
    created, updated = (request.body for request in fake.requests)
    assert updated == {
        "description": "rf-docker-0123456789ab",
        "tag_list": ["docker", "ec2"],
        "run_untagged": False,
        "locked": False,
        "paused": False,
        "access_level": "not_protected",
        "maximum_timeout": 3600,
    }
    assert created == updated | {"runner_type": "group_type", "group_id": 42}
    gitlab.update_runner(31, replace(RUNNER, protected_only=True))
    assert fake.requests[-1].body["access_level"] == "ref_protected"


@pytest.mark.parametrize(
    ("kind", "owner_id", "owner"),
    [("project_type", 77, {"project_id": 77}), ("instance_type", None, {})],
)
def test_runner_records_of_others_than_groups(
    kind: str, owner_id: int | None, owner: object, fake: FakeGitLab, gitlab: GitLab
) -> None:
    fake.answers("POST", "/user/runners", MADE, status=201)
    gitlab.create_runner(NewRunner(kind=kind, owner_id=owner_id, description="d", tags=()))
    body = fake.requests[0].body
    assert {name: body[name] for name in body if name.endswith("_id")} == owner
    assert "maximum_timeout" not in body


def test_a_runner_record_is_deleted(fake: FakeGitLab, gitlab: GitLab) -> None:
    fake.answers("DELETE", "/runners/31", status=204)
    gitlab.delete_runner(31)
    assert len(fake.requests) == 1


@pytest.mark.parametrize(
    ("kind", "owner_id", "path"),
    [
        (None, None, "/runners"),
        ("instance_type", None, "/runners/all"),
        ("group_type", 42, "/groups/42/runners"),
        ("project_type", 77, "/projects/77/runners"),
    ],
)
def test_runner_records_by_description(
    kind: str | None, owner_id: int | None, path: str, fake: FakeGitLab, gitlab: GitLab
) -> None:
    ours = {"id": 1, "description": "rf-docker-1", "status": "online", "paused": True}
    others = {"id": 2, "description": "team-rf-docker", "status": "stale", "paused": False}
    nameless = {"id": 3, "description": "", "status": "never_contacted"}
    fake.answers("GET", path, [ours, others, nameless])
    assert gitlab.runners_described("rf-", kind=kind, owner_id=owner_id) == [
        GitLabRunner(id=1, description="rf-docker-1", status="online", paused=True)
    ]
    assert fake.requests[0].query.get("type") == ([kind] if kind else None)


def test_presence_uses_one_system_id(fake: FakeGitLab, gitlab: GitLab) -> None:
    fake.answers("POST", "/runners/verify", {"id": 31, "token": "glrt-1"})
    assert gitlab.verify_runner("glrt-1") is None
    assert fake.requests[0].body == {"token": "glrt-1", "system_id": SYSTEM_ID}


def test_the_projects_of_a_group_and_its_subgroups_are_read_as_they_are_wanted(
    fake: FakeGitLab, gitlab: GitLab
) -> None:
    fake.pages("/groups/acme%2Fplatform/projects", [PROJECT], [PROJECT | {"id": 78}])
    projects = gitlab.group_projects("acme/platform")
    assert (next(projects), len(fake.requests)) == (READ_PROJECT, 1)
    assert [project.id for project in projects] == [78]
    wanted = {"include_subgroups": "True", "archived": "False", "simple": "True"}
    assert fake.requests[0].query == {
        name: [value]
        for name, value in (wanted | {"order_by": "id", "sort": "asc", "per_page": "100"}).items()
    }


def test_the_groups_above_a_project(fake: FakeGitLab, gitlab: GitLab) -> None:
    fake.pages("/projects/77/groups", [{"id": 42}], [{"id": 4}])
    assert gitlab.groups_above(77) == (42, 4)


@pytest.mark.parametrize(("group_id", "over"), [(44, (43, 42)), (42, ()), (50, (49,))])
def test_the_groups_over_a_group_as_far_as_they_are_shown(
    group_id: int, over: tuple[int, ...], fake: FakeGitLab, gitlab: GitLab
) -> None:
    for number, parent in ((44, 43), (43, 42), (42, None), (50, 49)):
        fake.answers("GET", f"/groups/{number}", {"id": number, "parent_id": parent})
    assert gitlab.groups_over(group_id) == over


@pytest.mark.parametrize(("group_id", "has"), [(42, True), (43, True), (44, False)])
def test_the_role_in_a_group_on_whichever_page_it_is(
    group_id: int, has: bool, fake: FakeGitLab, gitlab: GitLab
) -> None:
    fake.pages("/groups", [{"id": 42}], [{"id": 43}])
    assert gitlab.has_group(group_id, role=50) is has
    assert fake.requests[0].query["min_access_level"] == ["50"]


@pytest.mark.parametrize(
    ("rights", "role"),
    [
        ({"permissions": {"project_access": {"access_level": 30}, "group_access": None}}, 30),
        (
            {
                "permissions": {
                    "project_access": {"access_level": 30},
                    "group_access": {"access_level": 50},
                }
            },
            50,
        ),
        ({"permissions": {"project_access": None, "group_access": None}}, 0),
        ({"permissions": None}, 0),
        ({}, 0),
    ],
)
def test_the_higher_role_in_a_project_counts(
    rights: dict[str, object], role: int, fake: FakeGitLab, gitlab: GitLab
) -> None:
    fake.answers("GET", "/projects/acme%2Fdemo", {"id": 77} | rights)
    assert gitlab.role_in_project("acme/demo") == role


@pytest.mark.parametrize("text", ["", "a\ntw\u00f6\n", '{"a": 1}\n'])
def test_a_log_is_text_whatever_it_looks_like(text: str, fake: FakeGitLab, gitlab: GitLab) -> None:
    fake.answers("GET", f"{THIS}/trace", text, headers={"Content-Type": "text/plain"})
    assert gitlab.log(77, 90210) == text


def test_a_page_of_something_else_is_no_log(fake: FakeGitLab, gitlab: GitLab) -> None:
    fake.answers("GET", f"{THIS}/trace", "<html>Welcome</html>")
    with pytest.raises(Transient, match="login"):
        gitlab.log(77, 90210)
