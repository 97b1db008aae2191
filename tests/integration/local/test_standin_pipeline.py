"""A whole pipeline of the simulated GitLab, run by the stand-in (and the real one, where it is)."""

from collections.abc import Iterator
from pathlib import Path

import gitlab
import pytest

from local.gitlab.seed import create_project
from local.gitlab.server import SimulatorServer
from tests.integration.local.gitlab.site import Site
from tests.integration.local.runner_process import BINARIES, RunnerProcess, config_toml

PIPELINES = Path(__file__).with_name("pipelines")
RUNS = 8  # stubborn runs twice, by-hand never


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with (
        SimulatorServer(tmp_path / "gitlab") as server,
        gitlab.Gitlab(server.url, private_token=server.root_token) as client,
    ):
        yield Site(server, client)


@pytest.mark.parametrize("binary", BINARIES)
def test_a_whole_pipeline(binary: str, site: Site, tmp_path: Path) -> None:
    files = {".gitlab-ci.yml": (PIPELINES / "whole.yml").read_text(), "README.md": "readme\n"}
    seeded = create_project(site.server.url, site.server.root_token, "acme/demo", files)
    config = config_toml(site.server.url, token=site.register("shell"))
    limits = ["--max-builds", str(RUNS), "--wait-timeout", "20"]
    with RunnerProcess(binary, tmp_path, config, *limits) as process:
        assert process.wait(within_s=90) == 0
    assert site.statuses() == {
        "compile": "success",
        "slices 1/2": "success",
        "slices 2/2": "success",
        "cached": "success",
        "forgiven": "failed",
        "stubborn": "failed",
        "report": "success",
        "by-hand": "manual",
    }
    project = site.project(seeded)
    assert project.pipelines.list(get_all=True)[0].status == "success"
    logs = {job.name: project.jobs.get(job.id).trace().decode() for job in _jobs(project)}
    assert "prepared everybody\n" in logs["compile"]
    assert "made of readme\n" in logs["slices 2/2"]
    assert "slice 2 of 2\n" in logs["slices 2/2"]
    assert "prepared dana\n" in logs["cached"]
    assert "dependency\n" in logs["cached"]
    assert "said by reference\n" in logs["cached"]
    assert "ended as failed\n" in logs["stubborn"]
    assert "1 out/product.txt\n" in logs["report"]


def _jobs(project: gitlab.v4.objects.Project) -> list[gitlab.v4.objects.ProjectJob]:
    return list(project.jobs.list(get_all=True))


@pytest.mark.parametrize("binary", BINARIES)
def test_what_jobs_get_from_each_other_and_from_the_project(
    binary: str, site: Site, tmp_path: Path
) -> None:
    url, token = site.server.url, site.server.root_token
    for name in ("open", "shut"):
        create_project(url, token, f"acme/{name}", {"README.md": "beside\n"})
    seeded = create_project(url, token, "acme/demo", {"README.md": "readme\n"})
    project = site.project(seeded)
    site.client.http_post(
        "/projects/1/job_token_scope/allowlist", post_data={"target_project_id": seeded.id}
    )
    for variable in (
        {"key": "PASSWORD", "value": "hidden-1234", "masked": True},
        {"key": "CONFIG", "value": "a: b", "variable_type": "file"},
        {"key": "PROTECTED", "value": "x", "protected": True},
    ):
        project.variables.create(variable)
    site.push(seeded, (PIPELINES / "shared.yml").read_text())
    config = config_toml(url, token=site.register("shell"))
    limits = ["--max-builds", "6", "--wait-timeout", "20"]
    with RunnerProcess(binary, tmp_path, config, *limits) as process:
        assert process.wait(within_s=90) == 0
    logs = {job.name: project.jobs.get(job.id).trace().decode() for job in _jobs(project)}
    good = dict.fromkeys(("make", "uses", "unrelated", "deploy", "secret"), "success")
    assert site.statuses() == {**good, "sibling": "failed"}, logs
    assert "it is [MASKED]\n" in logs["secret"]
    assert "CI/CD job token not allowed from demo to shut" in logs["sibling"]
    (make,) = (job for job in _jobs(project) if job.name == "make")
    assert {attribute["file_type"] for attribute in make.attributes["artifacts"]} == {
        "dotenv",
        "junit",
        "trace",
    }
    (environment,) = project.environments.list(get_all=True)
    assert environment.external_url == f"https://x.example.com/{environment.slug}"
