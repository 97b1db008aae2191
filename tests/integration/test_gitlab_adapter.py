"""Our GitLab client against the simulated GitLab."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapters.gitlab.call_allowance import OwnAllowance
from adapters.gitlab.client import GitLab
from adapters.gitlab.values import NewRunner
from fleet.errors import Refused
from local.gitlab.seed import SeededProject, create_project
from local.gitlab.server import SimulatorServer

CI = """
unit: {script: "true", tags: [docker]}
lint: {script: "true", tags: [lambda, node]}
docs: {script: "true", when: manual}
later: {script: "true", stage: deploy, tags: [docker]}
"""


def client(server: SimulatorServer, token: str) -> GitLab:
    """A client with an allowance of its own."""
    allowance = OwnAllowance(calls_per_minute=3000, clock=lambda: datetime.now(UTC))
    return GitLab(server.url, token, allowance=allowance)


@dataclass(frozen=True, kw_only=True)
class Site:
    """A GitLab with one project, whose first pipeline waits; and our client of it."""

    server: SimulatorServer
    project: SeededProject
    gitlab: GitLab


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder: Path = tmp_path_factory.mktemp("gitlab")
    with SimulatorServer(folder) as server:
        project = create_project(
            server.url, server.root_token, "acme/platform/demo", {".gitlab-ci.yml": CI}
        )
        yield Site(server=server, project=project, gitlab=client(server, server.root_token))


class TestJobs:
    """Pending jobs with their tags."""

    def test_pending_jobs_oldest_first(self, site: Site) -> None:
        jobs = site.gitlab.pending_jobs(site.project.id)
        assert [(job.name, job.tags) for job in jobs] == [
            ("unit", ("docker",)),
            ("lint", ("lambda", "node")),
        ]
        assert [job.id for job in jobs] == sorted(job.id for job in jobs)
        assert {job.project_id for job in jobs} == {site.project.id}
        assert all(job.runner_id is None and job.status == "pending" for job in jobs)

    def test_one_job_is_the_same_as_in_the_list(self, site: Site) -> None:
        listed = site.gitlab.pending_jobs(site.project.id)[0]
        job = site.gitlab.job(site.project.id, listed.id)
        assert job is not None
        for name in ("id", "name", "tags", "status", "pipeline_id"):
            assert getattr(job, name) == getattr(listed, name)
        assert (listed.ref, listed.created_at is not None) == ("main", True)
        assert site.gitlab.job(site.project.id, 10**9) is None
        with pytest.raises(Refused, match="not retryable"):
            site.gitlab.retry_job(site.project.id, listed.id)

    def test_more_than_a_page_of_jobs(self, site: Site) -> None:
        many = "".join(f"job-{n}: {{script: 'true', tags: [many]}}\n" for n in range(230))
        project = create_project(
            site.server.url, site.server.root_token, "acme/many", {".gitlab-ci.yml": many}
        )
        jobs = site.gitlab.pending_jobs(project.id)
        assert [job.name for job in jobs] == [f"job-{n}" for n in range(230)]


class TestProjects:
    """Projects, groups and the version."""

    def test_by_id_and_by_path(self, site: Site) -> None:
        project = site.gitlab.project(site.project.id)
        assert project.path == "acme/platform/demo"
        assert site.gitlab.project("acme/platform/demo") == project

        assert project in list(site.gitlab.group_projects("acme"))
        groups = [site.gitlab.group(path) for path in ("acme/platform", "acme")]
        assert sorted(site.gitlab.groups_above(project.id)) == sorted(groups)
        assert site.gitlab.groups_above(10**6) == ()
        with pytest.raises(Refused, match="hides it"):
            site.gitlab.project("acme/none")

    def test_version(self, site: Site) -> None:
        assert site.gitlab.version() == site.server.world.options.gitlab_version


class TestRunners:
    """A runner record from its creation to its end."""

    @pytest.mark.parametrize("kind", ["instance_type", "group_type", "project_type"])
    def test_life(self, kind: str, site: Site) -> None:
        gitlab = site.gitlab
        group_id = gitlab.api.get("/groups/acme")["id"]
        owner_id = {"group_type": group_id, "project_type": site.project.id}.get(kind)
        description = f"rf-{kind}-0123456789ab"
        new = NewRunner(
            kind=kind,
            owner_id=owner_id,
            description=description,
            tags=("docker", "ec2"),
            maximum_timeout_s=3600,
        )
        created = gitlab.create_runner(new)
        assert created.token.startswith("glrt-")
        (listed,) = gitlab.runners_described(f"rf-{kind}", kind=kind, owner_id=owner_id)
        assert (listed.id, listed.description) == (created.id, description)
        assert listed.status == "never_contacted"
        record = gitlab.runner(created.id)
        assert record is not None
        assert (record.tags, record.run_untagged) == (("docker", "ec2"), False)
        assert record.maximum_timeout_s == 3600

        gitlab.update_runner(created.id, replace(new, tags=("big",)))
        changed = gitlab.runner(created.id)
        assert changed is not None
        assert changed.tags == ("big",)

        gitlab.verify_runner(created.token)
        gitlab.verify_runner(created.token)
        assert gitlab.runners_described(f"rf-{kind}")[0].status == "online"
        managers = list(gitlab.api.pages(f"/runners/{created.id}/managers"))
        assert len(managers) == 1  # one system_id, however often it is verified

        assert gitlab.runner_jobs(created.id) == []
        gitlab.delete_runner(created.id)
        gitlab.delete_runner(created.id)
        assert gitlab.runner(created.id) is None
        with pytest.raises(Refused):
            gitlab.verify_runner(created.token)
