import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from adapters.gitlab.client import (
    SYSTEM_ID,
    Budget,
    CreatedRunner,
    GitLab,
    GitLabJob,
    GitLabProject,
    GitLabRunner,
    GitLabToken,
    NewRunner,
)
from fleet.errors import Transient
from tests.unit.adapters.fake_gitlab import FakeGitLab, fake_gitlab
from tests.unit.adapters.stubs import Clock

JOB = {
    "id": 90210,
    "name": "unit-tests",
    "stage": "test",
    "status": "pending",
    "ref": "main",
    "tag": False,
    "allow_failure": False,
    "created_at": "2026-08-20T09:15:01.123Z",
    "started_at": None,
    "finished_at": None,
    "duration": None,
    "queued_duration": 0.41,
    "tag_list": ["docker", "ec2"],
    "runner": None,
    "runner_manager": None,
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
RUNNER = NewRunner(
    kind="group_type",
    owner_id=42,
    description="rf-docker-0123456789ab",
    tags=("docker", "ec2"),
    maximum_timeout_s=3600,
)

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


@pytest.fixture
def fake() -> Iterator[FakeGitLab]:
    with fake_gitlab() as running:
        yield running


@pytest.fixture
def gitlab(fake: FakeGitLab) -> GitLab:
    return GitLab(fake.url, "glpat-1", budget=Budget(calls_per_minute=300, clock=Clock()))


class TestJobs:
    """Jobs, with the tags that no webhook has."""

    def test_a_job(self, fake: FakeGitLab, gitlab: GitLab) -> None:
        fake.answers("GET", "/projects/77/jobs/90210", JOB)
        assert gitlab.job(77, 90210) == READ

    def test_a_job_with_its_runner(self, fake: FakeGitLab, gitlab: GitLab) -> None:
        runner = {"id": 31, "description": "rf-small-0123456789ab", "active": True}
        changes = {"status": "failed", "failure_reason": "script_failure", "runner": runner}
        fake.answers("GET", "/projects/77/jobs/90210", JOB | changes)
        job = gitlab.job(77, 90210)
        assert job is not None
        assert (job.runner_id, job.runner_description) == (31, "rf-small-0123456789ab")
        assert (job.status, job.failure_reason) == ("failed", "script_failure")

    def test_a_deleted_job_is_none(self, gitlab: GitLab) -> None:
        assert gitlab.job(77, 1) is None

    def test_the_newest_pending_jobs_take_no_more_pages_than_they_fill(
        self, fake: FakeGitLab, gitlab: GitLab
    ) -> None:
        following = {"Link": f'<{fake.url}/api/v4/projects/77/jobs?cursor=b>; rel="next"'}
        newest_first = [JOB | {"id": 9}, JOB | {"id": 8}]
        fake.answers("GET", "/projects/77/jobs", newest_first, headers=following)
        assert [job.id for job in gitlab.pending_jobs(77, at_most=2)] == [8, 9]
        assert len(fake.asked) == 1

    def test_a_job_of_an_unknown_shape_is_refused(self, fake: FakeGitLab, gitlab: GitLab) -> None:
        fake.answers("GET", "/projects/77/jobs/1", JOB | {"id": "x", "tag_list": 7})
        with pytest.raises(Transient, match="GitLabJob") as caught:
            gitlab.job(77, 1)
        assert caught.value.facts == {"fields": ["id", "tag_list"]}

    def test_pending_oldest_first_over_all_pages(self, fake: FakeGitLab, gitlab: GitLab) -> None:
        following = {"Link": f'<{fake.url}/api/v4/projects/77/jobs?cursor=b>; rel="next"'}
        newest_first = [JOB | {"id": 9}, JOB | {"id": 8}]
        fake.answers("GET", "/projects/77/jobs", newest_first, headers=following)
        fake.answers("GET", "/projects/77/jobs", [JOB | {"id": 3}])
        assert [job.id for job in gitlab.pending_jobs(77)] == [3, 8, 9]
        assert fake.asked[0].query == {
            "scope[]": ["pending"],
            "pagination": ["keyset"],
            "order_by": ["id"],
            "sort": ["desc"],
            "per_page": ["100"],
        }

    def test_retried_is_a_new_job(self, fake: FakeGitLab, gitlab: GitLab) -> None:
        fake.answers("POST", "/projects/77/jobs/90210/retry", JOB | {"id": 90999}, status=201)
        assert gitlab.retry_job(77, 90210).id == 90999

    def test_of_a_pipeline(self, fake: FakeGitLab, gitlab: GitLab) -> None:
        fake.answers("GET", "/projects/77/pipelines/5512/jobs", [JOB, JOB | {"id": 90211}])
        assert [job.id for job in gitlab.pipeline_jobs(77, 5512)] == [90210, 90211]

    def test_of_a_runner(self, fake: FakeGitLab, gitlab: GitLab) -> None:
        of_runner = JOB | {"status": "running", "project": {"id": 78, "path": "demo"}}
        fake.answers("GET", "/runners/31/jobs", [of_runner])
        (job,) = gitlab.runner_jobs(31)
        assert (job.id, job.project_id) == (90210, 78)
        assert "status" not in fake.asked[0].query  # those that ended, too

    def test_of_a_runner_that_is_gone(self, gitlab: GitLab) -> None:
        assert gitlab.runner_jobs(31) == []


class TestRunners:
    """Runner records."""

    def test_create_for_a_group(self, fake: FakeGitLab, gitlab: GitLab) -> None:
        made = {"id": 31, "token": "glrt-t2_hidden", "token_expires_at": None}
        fake.answers("POST", "/user/runners", made, status=201)
        created = gitlab.create_runner(RUNNER)
        assert created == CreatedRunner(id=31, token="glrt-t2_hidden")
        assert "hidden" not in repr(created)
        assert fake.asked[0].body == {
            "runner_type": "group_type",
            "group_id": 42,
            "description": "rf-docker-0123456789ab",
            "tag_list": ["docker", "ec2"],
            "run_untagged": False,
            "locked": False,
            "paused": False,
            "access_level": "not_protected",
            "maximum_timeout": 3600,
        }

    @pytest.mark.parametrize(
        ("kind", "owner_id", "owner"),
        [("project_type", 77, {"project_id": 77}), ("instance_type", None, {})],
    )
    def test_create_for_others(
        self, kind: str, owner_id: int | None, owner: object, fake: FakeGitLab, gitlab: GitLab
    ) -> None:
        fake.answers("POST", "/user/runners", {"id": 1, "token": "glrt-1"}, status=201)
        gitlab.create_runner(NewRunner(kind=kind, owner_id=owner_id, description="d", tags=()))
        body = fake.asked[0].body
        assert {name: body[name] for name in body if name.endswith("_id")} == owner
        assert "maximum_timeout" not in body

    def test_a_strange_answer_does_not_show_the_token(
        self, fake: FakeGitLab, gitlab: GitLab
    ) -> None:
        fake.answers("POST", "/user/runners", {"token": "glrt-hidden"}, status=201)
        with pytest.raises(Transient) as caught:
            gitlab.create_runner(RUNNER)
        assert "hidden" not in "".join(traceback.format_exception(caught.value))

    def test_create_for_protected_branches_only(self, fake: FakeGitLab, gitlab: GitLab) -> None:
        fake.answers("POST", "/user/runners", {"id": 1, "token": "glrt-1"}, status=201)
        gitlab.create_runner(replace(RUNNER, protected_only=True))
        assert fake.asked[0].body["access_level"] == "ref_protected"

    def test_change(self, fake: FakeGitLab, gitlab: GitLab) -> None:
        fake.answers("PUT", "/runners/31", {"id": 31})
        gitlab.update_runner(31, RUNNER)
        body = fake.asked[0].body
        assert (body["tag_list"], body["run_untagged"]) == (["docker", "ec2"], False)
        assert {"runner_type", "group_id"} & set(body) == set()

    def test_a_runner(self, fake: FakeGitLab, gitlab: GitLab) -> None:
        body = {
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
        fake.answers("GET", "/runners/31", body)
        assert gitlab.runner(31) == GitLabRunner(
            id=31,
            description="rf-docker",
            status="online",
            runner_type="group_type",
            tags=("docker",),
            run_untagged=True,
            access_level="not_protected",
            group_ids=(42,),
        )

    def test_a_runner_with_odd_owners(self, fake: FakeGitLab, gitlab: GitLab) -> None:
        fake.answers("GET", "/runners/31", {"id": 31, "groups": "acme"})
        with pytest.raises(Transient, match="groups"):
            gitlab.runner(31)

    def test_a_deleted_runner_is_none(self, gitlab: GitLab) -> None:
        assert gitlab.runner(31) is None

    def test_deleted_now_or_before(self, fake: FakeGitLab, gitlab: GitLab) -> None:
        fake.answers("DELETE", "/runners/31", status=204)
        fake.refuses("DELETE", "/runners/31", 404)
        gitlab.delete_runner(31)
        gitlab.delete_runner(31)
        assert len(fake.asked) == 2

    @pytest.mark.parametrize(
        ("kind", "owner_id", "path"),
        [
            (None, None, "/runners"),
            ("instance_type", None, "/runners/all"),
            ("group_type", 42, "/groups/42/runners"),
            ("project_type", 77, "/projects/77/runners"),
        ],
    )
    def test_by_description(
        self, kind: str | None, owner_id: int | None, path: str, fake: FakeGitLab, gitlab: GitLab
    ) -> None:
        ours = {"id": 1, "description": "rf-docker-1", "status": "online", "paused": True}
        others = {"id": 2, "description": "team-rf-docker", "status": "stale", "paused": False}
        nameless = {"id": 3, "description": "", "status": "never_contacted"}
        fake.answers("GET", path, [ours, others, nameless])
        assert gitlab.runners_described("rf-", kind=kind, owner_id=owner_id) == [
            GitLabRunner(id=1, description="rf-docker-1", status="online", paused=True)
        ]
        assert fake.asked[0].query.get("type") == ([kind] if kind else None)

    def test_presence_uses_one_system_id(self, fake: FakeGitLab, gitlab: GitLab) -> None:
        fake.answers("POST", "/runners/verify", {"id": 31, "token": "glrt-1"})
        gitlab.verify_runner("glrt-1")
        assert fake.asked[0].body == {"token": "glrt-1", "system_id": SYSTEM_ID}


class TestProjects:
    """Projects, and the rest."""

    @pytest.mark.parametrize(
        ("reference", "path"),
        [(77, "/projects/77"), ("77", "/projects/77"), ("acme/demo", "/projects/acme%2Fdemo")],
    )
    def test_by_id_or_path(
        self, reference: int | str, path: str, fake: FakeGitLab, gitlab: GitLab
    ) -> None:
        fake.answers("GET", path, PROJECT)
        assert gitlab.project(reference) == READ_PROJECT

    def test_of_a_group_and_its_subgroups(self, fake: FakeGitLab, gitlab: GitLab) -> None:
        fake.answers("GET", "/groups/acme%2Fplatform/projects", [PROJECT])
        assert list(gitlab.group_projects("acme/platform")) == [READ_PROJECT]
        query = fake.asked[0].query
        assert (query["include_subgroups"], query["archived"]) == (["True"], ["False"])

    def test_the_groups_above_one(self, fake: FakeGitLab, gitlab: GitLab) -> None:
        path = "/projects/77/groups"
        fake.answers("GET", path, [{"id": 42}], headers=following(fake, path))
        fake.answers("GET", path, [{"id": 4}])
        assert gitlab.groups_above(77) == (42, 4)
        assert gitlab.groups_above(78) == ()  # no such project, or hidden from this token

    def test_version(self, fake: FakeGitLab, gitlab: GitLab) -> None:
        fake.answers("GET", "/version", {"version": "19.3.0-ee", "revision": "abc"})
        assert gitlab.version() == "19.3.0-ee"


CALLS: list[Callable[[GitLab], Any]] = [
    lambda gitlab: gitlab.job(1, 1),
    lambda gitlab: gitlab.pending_jobs(1),
    lambda gitlab: gitlab.retry_job(1, 1),
    lambda gitlab: gitlab.create_runner(RUNNER),
    lambda gitlab: gitlab.delete_runner(1),
    lambda gitlab: gitlab.runners_described("rf-"),
    lambda gitlab: gitlab.runner_jobs(1),
    lambda gitlab: gitlab.verify_runner("glrt-1"),
    lambda gitlab: list(gitlab.group_projects(1)),
    lambda gitlab: gitlab.groups_above(1),
    lambda gitlab: gitlab.project(1),
    lambda gitlab: gitlab.version(),
]


CANCEL = "/projects/77/jobs/90210/cancel"


IN_PIPELINE = "/projects/77/pipelines/5512/jobs"


def following(fake: FakeGitLab, path: str) -> dict[str, str]:
    """The header by which GitLab says that there is more."""
    return {"Link": f'<{fake.url}/api/v4{path}?page=2>; rel="next"'}


class TestCancelling:
    """The end of a job whose machine is gone."""

    def test_is_forced_where_gitlab_would_wait_for_the_runner(
        self, fake: FakeGitLab, gitlab: GitLab
    ) -> None:
        fake.answers("POST", CANCEL, JOB | {"status": "canceling"}, status=201)
        fake.answers("POST", CANCEL, JOB | {"status": "canceled"}, status=201)
        assert gitlab.cancel_job(77, 90210).status == "canceled"
        assert [asked.body for asked in fake.asked] == [{}, {"force": True}]

    @pytest.mark.parametrize("status", ["canceled", "success", "failed"])
    def test_is_asked_for_once_where_it_is_over(
        self, status: str, fake: FakeGitLab, gitlab: GitLab
    ) -> None:
        fake.answers("POST", CANCEL, JOB | {"status": status}, status=201)
        job = gitlab.cancel_job(77, 90210)
        assert (job.status, job.project_id, len(fake.asked)) == (status, 77, 1)


class TestPipelines:
    """The jobs of one pipeline that wait."""

    def test_oldest_first_over_all_pages(self, fake: FakeGitLab, gitlab: GitLab) -> None:
        newest_first = [JOB | {"id": 9}, JOB | {"id": 8}]
        fake.answers("GET", IN_PIPELINE, newest_first, headers=following(fake, IN_PIPELINE))
        fake.answers("GET", IN_PIPELINE, [JOB | {"id": 3}])
        jobs = gitlab.pending_in_pipeline(77, 5512, at_most=10)
        assert [(job.id, job.project_id) for job in jobs] == [(3, 77), (8, 77), (9, 77)]
        assert fake.asked[0].query["scope[]"] == ["pending"]

    @pytest.mark.parametrize(("at_most", "calls"), [(1, 1), (2, 1), (3, 2)])
    def test_no_more_than_asked_for(
        self, at_most: int, calls: int, fake: FakeGitLab, gitlab: GitLab
    ) -> None:
        """A pipeline may have thousands: a page that is not needed is not asked for."""
        first = [JOB | {"id": 9}, JOB | {"id": 8}]
        fake.answers("GET", IN_PIPELINE, first, headers=following(fake, IN_PIPELINE))
        fake.answers("GET", IN_PIPELINE, [JOB | {"id": 7}, JOB | {"id": 6}])
        assert len(gitlab.pending_in_pipeline(77, 5512, at_most=at_most)) == at_most
        assert len(fake.asked) == calls

    def test_a_pipeline_that_is_gone_has_no_jobs(self, gitlab: GitLab) -> None:
        assert gitlab.pending_in_pipeline(77, 5512, at_most=10) == []

    @pytest.mark.parametrize("path", [IN_PIPELINE, "/projects/77/jobs", "/runners/31/jobs"])
    def test_a_page_that_fails_halfway_is_not_the_end_of_the_list(
        self, path: str, fake: FakeGitLab, gitlab: GitLab
    ) -> None:
        fake.answers("GET", path, [JOB | {"id": 9}], headers=following(fake, path))
        fake.answers("GET", path, {"message": "no"}, status=502)
        with pytest.raises(Transient):
            {
                IN_PIPELINE: lambda: gitlab.pending_in_pipeline(77, 5512, at_most=10),
                "/projects/77/jobs": lambda: gitlab.pending_jobs(77),
                "/runners/31/jobs": lambda: gitlab.runner_jobs(31),
            }[path]()
        assert len(fake.asked) == 2


class TestJobsAsGitLabTellsThem:
    """The project of a job lies where its list has it."""

    @pytest.mark.parametrize(
        ("where", "project_id"),
        [
            ({"project": {"id": 78}}, 78),
            ({"project": {"ci_job_token_scope_enabled": False}}, 77),
            ({"project_id": 79, "project": {"id": 78}}, 79),
        ],
    )
    def test_project(
        self, where: dict[str, object], project_id: int, fake: FakeGitLab, gitlab: GitLab
    ) -> None:
        fake.answers("GET", "/runners/31/jobs", [JOB | where])
        (job,) = gitlab.runner_jobs(31, status="success")
        assert job.project_id == project_id
        assert fake.asked[0].query["status"] == ["success"]

    @pytest.mark.parametrize(
        ("asked", "ask"),
        [
            ("GET /projects/77/jobs/1", lambda g: g.job(77, 1)),
            ("POST /projects/77/jobs/1/retry", lambda g: g.retry_job(77, 1)),
            ("POST /projects/77/jobs/1/cancel", lambda g: g.cancel_job(77, 1)),
        ],
    )
    def test_project_where_gitlab_does_not_repeat_it(
        self, asked: str, ask: Callable[[GitLab], GitLabJob], fake: FakeGitLab, gitlab: GitLab
    ) -> None:
        verb, path = asked.split()
        fake.answers(verb, path, {"id": 1, "name": "a", "status": "canceled"})
        assert ask(gitlab).project_id == 77

    def test_a_job_that_was_never_queued(self, fake: FakeGitLab, gitlab: GitLab) -> None:
        fake.answers("GET", "/projects/77/jobs/1", {"id": 1, "name": "a", "status": "created"})
        job = gitlab.job(77, 1)
        assert job is not None
        assert (job.tags, job.queued_duration_s, job.pipeline_id) == ((), None, None)
        assert (job.runner_id, job.runner_description, job.created_at) == (None, None, None)

    def test_a_time_without_a_zone_is_no_time(self, fake: FakeGitLab, gitlab: GitLab) -> None:
        fake.answers("GET", "/projects/77/jobs/1", JOB | {"created_at": "2026-08-20T09:15:01"})
        with pytest.raises(Transient, match="created_at"):
            gitlab.job(77, 1)


class TestRights:
    """What `validate` asks of the token before anything is launched."""

    def test_of_the_token(self, fake: FakeGitLab, gitlab: GitLab) -> None:
        body = {"scopes": ["api", "create_runner"], "active": False, "expires_at": "2027-01-31"}
        fake.answers("GET", "/personal_access_tokens/self", body)
        assert gitlab.own_token() == GitLabToken(
            scopes=frozenset({"api", "create_runner"}), active=False, expires_at=date(2027, 1, 31)
        )

    @pytest.mark.parametrize(
        ("user", "is_one"),
        [({"is_admin": True}, True), ({"is_admin": False}, False), ({}, False)],
    )
    def test_of_an_administrator(
        self, user: dict[str, bool], is_one: bool, fake: FakeGitLab, gitlab: GitLab
    ) -> None:
        fake.answers("GET", "/user", {"id": 1} | user)
        assert gitlab.is_administrator() is is_one

    @pytest.mark.parametrize(("group_id", "has"), [(42, True), (43, True), (44, False)])
    def test_in_a_group_on_whichever_page_it_is(
        self, group_id: int, has: bool, fake: FakeGitLab, gitlab: GitLab
    ) -> None:
        fake.answers("GET", "/groups", [{"id": 42}], headers=following(fake, "/groups"))
        fake.answers("GET", "/groups", [{"id": 43}])
        assert gitlab.has_group(group_id, role=50) is has
        assert fake.asked[0].query["min_access_level"] == ["50"]

    @pytest.mark.parametrize(
        ("permissions", "role"),
        [
            ({"project_access": {"access_level": 30}, "group_access": {"access_level": 50}}, 50),
            ({"project_access": {"access_level": 40}, "group_access": None}, 40),
            ({"project_access": None, "group_access": None}, 0),
            (None, 0),
        ],
    )
    def test_in_a_project_the_higher_role_counts(
        self, permissions: object, role: int, fake: FakeGitLab, gitlab: GitLab
    ) -> None:
        fake.answers("GET", "/projects/acme%2Fdemo", {"id": 77, "permissions": permissions})
        assert gitlab.role_in_project("acme/demo") == role

    def test_in_a_project_that_says_nothing_of_it(self, fake: FakeGitLab, gitlab: GitLab) -> None:
        fake.answers("GET", "/projects/77", {"id": 77})
        assert gitlab.role_in_project(77) == 0


class TestGroups:
    """Groups by path or number, and their projects."""

    @pytest.mark.parametrize(
        ("reference", "path"), [(42, "/groups/42"), ("acme/platform", "/groups/acme%2Fplatform")]
    )
    def test_number(
        self, reference: int | str, path: str, fake: FakeGitLab, gitlab: GitLab
    ) -> None:
        fake.answers("GET", path, {"id": 42})
        assert gitlab.group(reference) == 42

    def test_projects_are_read_as_they_are_wanted(self, fake: FakeGitLab, gitlab: GitLab) -> None:
        path = "/groups/42/projects"
        body = {"path_with_namespace": "acme/demo", "default_branch": None}
        fake.answers("GET", path, [{"id": 1} | body], headers=following(fake, path))
        fake.answers("GET", path, [{"id": 2} | body])
        projects = gitlab.group_projects(42)
        assert (next(projects).id, len(fake.asked)) == (1, 1)
        assert [project.id for project in projects] == [2]
        query = fake.asked[0].query
        assert (query["order_by"], query["sort"], query["simple"]) == (["id"], ["asc"], ["True"])


LOG = "/projects/77/jobs/90210/trace"


class TestLog:
    """What a job has written."""

    @pytest.mark.parametrize("text", ["", "one\ntw\u00f6\n", '{"a": 1}\n'])
    def test_is_text_whatever_it_looks_like(
        self, text: str, fake: FakeGitLab, gitlab: GitLab
    ) -> None:
        fake.answers("GET", LOG, text, headers={"Content-Type": "text/plain"})
        assert gitlab.log(77, 90210) == text

    def test_a_page_of_something_else_is_none(self, fake: FakeGitLab, gitlab: GitLab) -> None:
        fake.answers("GET", LOG, "<html>Welcome</html>")
        with pytest.raises(Transient, match="login"):
            gitlab.log(77, 90210)
