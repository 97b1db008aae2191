"""A whole pipeline of the simulated GitLab, run by the stand-in (and the real one, where it is)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import gitlab
import pytest

from local.gitlab.seed import create_project
from local.gitlab.server import SimulatorServer
from tests.integration.local.gitlab.site import Site
from tests.integration.local.runner_process import BINARIES, RunnerProcess

CI = """
stages: [build, test, report]

default:
  tags: [shell]
  before_script: [echo "prepared $WHO"]

variables: {WHO: everybody}

.kept: &kept
  cache: {key: $CI_COMMIT_REF_SLUG, paths: [vendor]}

.say: {script: [echo "said by reference"]}

compile:
  <<: *kept
  stage: build
  script:
    - mkdir -p out vendor
    - echo "made of $(cat README.md)" > out/product.txt
    - echo dependency > vendor/lib
  artifacts: {paths: [out], expire_in: 1 day}

slices:
  stage: test
  parallel: 2
  needs: [compile]
  script: [cat out/product.txt, 'echo "slice $CI_NODE_INDEX of $CI_NODE_TOTAL"']

cached:
  <<: *kept
  stage: test
  needs: [{job: compile, artifacts: false}]
  variables: {WHO: somebody}
  script: [test ! -e out, cat vendor/lib, !reference [.say, script]]

forgiven:
  stage: test
  needs: []
  allow_failure: {exit_codes: [42]}
  script: [exit 42]

stubborn:
  stage: test
  needs: []
  retry: 1
  allow_failure: true
  script: [exit 1]
  after_script: ['echo "ended as $CI_JOB_STATUS"']

report:
  stage: report
  needs: [{job: slices}, {job: compile, artifacts: true}]
  script: [wc -l out/product.txt]

by-hand:
  stage: report
  when: manual
  script: [echo never]
"""
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
    files = {".gitlab-ci.yml": textwrap.dedent(CI), "README.md": "readme\n"}
    seeded = create_project(site.server.url, site.server.root_token, "acme/demo", files)
    flags = ["--url", site.server.url, "--token", site.register("shell"), "--executor", "shell"]
    limits = ["--max-builds", str(RUNS), "--wait-timeout", "20"]
    with RunnerProcess(binary, tmp_path, ["run-single", *flags, *limits]) as process:
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
    assert "prepared somebody\n" in logs["cached"]
    assert "dependency\n" in logs["cached"]
    assert "said by reference\n" in logs["cached"]
    assert "ended as failed\n" in logs["stubborn"]
    assert "1 out/product.txt\n" in logs["report"]


def _jobs(project: gitlab.v4.objects.Project) -> list[gitlab.v4.objects.ProjectJob]:
    return list(project.jobs.list(get_all=True))
