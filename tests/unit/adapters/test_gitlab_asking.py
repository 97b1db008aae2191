"""What the fleet asks of GitLab beyond the daily round: cancelling, pipelines, rights, paging."""

from collections.abc import Callable, Iterator
from datetime import date

import pytest

from adapters.gitlab.client import Budget, GitLab, GitLabJob, GitLabToken
from fleet.errors import Transient
from tests.unit.adapters.fake_gitlab import FakeGitLab, fake_gitlab
from tests.unit.adapters.gitlab.test_client import JOB
from tests.unit.adapters.stubs import Clock

CANCEL = "/projects/77/jobs/90210/cancel"
IN_PIPELINE = "/projects/77/pipelines/5512/jobs"


@pytest.fixture
def fake() -> Iterator[FakeGitLab]:
    with fake_gitlab() as running:
        yield running


@pytest.fixture
def gitlab(fake: FakeGitLab) -> GitLab:
    return GitLab(fake.url, "glpat-1", budget=Budget(calls_per_minute=300, clock=Clock()))


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
        found = gitlab.pending_in_pipeline(77, 5512, at_most=10)
        assert [(job.id, job.project_id) for job in found] == [(3, 77), (8, 77), (9, 77)]
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

    def test_of_one_that_is_gone(self, gitlab: GitLab) -> None:
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
    """The project of a job lies where the list it came from has it."""

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

    def test_one_that_was_never_queued(self, fake: FakeGitLab, gitlab: GitLab) -> None:
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
        told = {"scopes": ["api", "create_runner"], "active": False, "expires_at": "2027-01-31"}
        fake.answers("GET", "/personal_access_tokens/self", told)
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
    def test_in_a_project_the_higher_one_counts(
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
        told = {"path_with_namespace": "acme/demo", "default_branch": None}
        fake.answers("GET", path, [{"id": 1} | told], headers=following(fake, path))
        fake.answers("GET", path, [{"id": 2} | told])
        projects = gitlab.group_projects(42)
        assert (next(projects).id, len(fake.asked)) == (1, 1)
        assert [one.id for one in projects] == [2]
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
