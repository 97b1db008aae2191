"""Jobs and pipelines over REST, as python-gitlab uses them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from gitlab.exceptions import (
    GitlabCreateError,
    GitlabGetError,
    GitlabJobEraseError,
    GitlabJobPlayError,
    GitlabJobRetryError,
)

from tests.integration.local.gitlab.machine import Machine
from tests.integration.local.gitlab.site import Site

OpenSite = Callable[..., Site]
SIGNING = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


def test_pending_jobs_page_by_page(site: Site, machine: Machine) -> None:
    seeded = site.start("unit: {tags: [ec2, docker], parallel: 25, script: [x]}\n")
    jobs = site.project(seeded).jobs
    listed = list(
        jobs.list(scope=["pending"], iterator=True, pagination="keyset", order_by="id", per_page=10)
    )
    assert [job.id for job in listed] == list(range(25, 0, -1))
    assert listed[0].tag_list == ["ec2", "docker"]
    by_page = jobs.list(get_all=True, per_page=7)
    assert len(by_page) == 25
    first = jobs.list(per_page=7, iterator=True)
    assert (first.total, first.total_pages, first.next_page) == (25, 4, 2)


@pytest.mark.parametrize(
    ("scope", "ids"),
    [(["pending"], [2]), (["running"], [1]), (["pending", "running"], [2, 1]), (["failed"], [])],
)
def test_jobs_by_scope(site: Site, machine: Machine, scope: list[str], ids: list[int]) -> None:
    seeded = site.start("a: {script: [x]}\nb: {script: [x]}\n")
    machine.take()
    assert [job.id for job in site.project(seeded).jobs.list(scope=scope, get_all=True)] == ids


def test_an_unknown_scope_is_refused(site: Site) -> None:
    site.start()
    assert site.call("GET", "/projects/1/jobs?scope[]=wrong").status_code == 400


def test_one_job_has_tags_but_no_timeout(site: Site, machine: Machine) -> None:
    seeded = site.start("unit: {tags: [ec2], timeout: 10 minutes, script: [x]}\n")
    job = site.project(seeded).jobs.get(1)
    assert (job.status, job.tag_list, job.runner) == ("pending", ["ec2"], None)
    assert "timeout" not in job.attributes
    machine.take()
    job.refresh()
    assert job.runner["id"] == 1
    assert job.runner_manager["system_id"] == machine.system_id
    assert job.pipeline["id"] == 1
    with pytest.raises(GitlabGetError, match="404 Job Not Found"):
        site.project(seeded).jobs.get(99)


def test_retry_makes_a_new_job(site: Site, machine: Machine) -> None:
    seeded = site.start()
    jobs = site.project(seeded).jobs
    with pytest.raises(GitlabJobRetryError, match="not retryable"):
        jobs.get(1).retry()
    machine.finish("failed")
    again = jobs.get(1).retry()
    assert (again["id"], again["status"]) == (2, "pending")
    with pytest.raises(GitlabJobRetryError):
        jobs.get(1).retry()


def test_play_starts_a_manual_job(site: Site) -> None:
    seeded = site.start("gate: {script: [x], when: manual}\n")
    job = site.project(seeded).jobs.get(1)
    job.play()
    assert job.status == "pending"
    with pytest.raises(GitlabJobPlayError, match="Unplayable"):
        job.play()


def test_erase_leaves_nothing_to_read(site: Site, machine: Machine) -> None:
    seeded = site.start()
    job = machine.take()
    machine.append(job, b"secret")
    found = site.project(seeded).jobs.get(1)
    with pytest.raises(GitlabJobEraseError):
        found.erase()
    machine.upload(job, b"zip")
    machine.report(job, "success")
    found.erase()
    found.refresh()
    assert found.trace() == b""
    assert found.erased_at is not None
    with pytest.raises(GitlabGetError):
        found.artifacts()


def test_artifacts_can_be_deleted(site: Site, machine: Machine) -> None:
    seeded = site.start()
    job = machine.take()
    machine.upload(job, b"zip")
    found = site.project(seeded).jobs.get(1)
    assert found.artifacts() == b"zip"
    found.delete_artifacts()
    with pytest.raises(GitlabGetError, match="404 File Not Found"):
        found.artifacts()


def test_pipelines(site: Site, machine: Machine) -> None:
    seeded = site.start("a: {script: [x]}\nb: {stage: deploy, script: [x]}\n")
    project = site.project(seeded)
    machine.finish("failed")
    pipeline = project.pipelines.get(1)
    assert (pipeline.status, pipeline.ref) == ("failed", "main")
    pipeline.retry()
    names = [(job.name, job.status) for job in pipeline.jobs.list(get_all=True, sort="asc")]
    assert names == [("b", "created"), ("a", "pending")]
    everything = pipeline.jobs.list(get_all=True, include_retried=True)
    assert len(everything) == 3
    pipeline.cancel()
    assert project.pipelines.latest().status == "canceled"
    assert project.pipelines.list(get_all=True, status="success") == []
    with pytest.raises(GitlabGetError):
        project.pipelines.get(9)


def test_a_pipeline_can_be_asked_for(site: Site, machine: Machine) -> None:
    seeded = site.seed(
        """
        unit:
          script: [x]
          rules: [{if: '$CI_PIPELINE_SOURCE == "api"'}]
        """
    )
    project = site.project(seeded)
    made = project.pipelines.create(
        {"ref": "main", "variables": [{"key": "MODE", "value": "deep"}]}
    )
    assert (made.source, made.status) == ("api", "pending")
    variables = {v["key"]: v["value"] for v in machine.take()["variables"]}
    assert variables["MODE"] == "deep"
    assert variables["CI_PIPELINE_SOURCE"] == "api"


@pytest.mark.parametrize(
    ("ci", "ref", "why"),
    [
        ("unit: {script: [x]}", "nothing", "Reference not found"),
        ("unit: {script: [x], rules: [{if: $NO}]}", "main", "will not run"),
        ("unit: {scirpt: [x]}", "main", "unit"),
    ],
)
def test_a_pipeline_that_cannot_be(site: Site, ci: str, ref: str, why: str) -> None:
    seeded = site.seed(ci)
    with pytest.raises(GitlabCreateError, match=why) as caught:
        site.project(seeded).pipelines.create({"ref": ref})
    assert caught.value.response_code == 400
