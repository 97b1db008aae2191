"""Jobs on EC2 machines that are containers, with their own engine and the real gitlab-runner."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import docker
import pytest

from fleet.steps import StepName
from local.laptop import ECR_PATH
from tests.e2e.images import Images, needs_gitlab_runner
from tests.e2e.site import WITHIN_S, Project, Site, site

BUILD = """
build:
  tags: [docker]
  image: {engine}
  services:
    - name: {web}
      alias: web
      command: [python3, -m, http.server, "8000"]
  script:
    - pwd
    - test "$PWD" = "$CI_PROJECT_DIR"
    - printf 'FROM {image}\\nCOPY made /made\\nCMD ["cat", "/made"]\\n' >Dockerfile
    - echo "made in $CI_JOB_ID" >made
    - docker build -q -t made-here .
    - docker run --rm made-here | tee ran
    - for try in 1 2 3 4 5 6 7 8 9; do curl -sf http://web:8000/ >page && break; sleep 1; done
    - grep -q etc page
  artifacts:
    paths: [ran]
use:
  tags: [docker]
  needs: [build]
  script:
    - grep "made in" ran
"""
CACHED = """
install:
  tags: [docker]
  cache:
    key: deps
    paths: [deps/]
  script:
    - if [ -f deps/done ]; then echo "from the cache"; else sleep 8; fi
    - mkdir -p deps && touch deps/done
"""
MANY = "\n".join(
    f'job-{number}:\n  tags: [docker]\n  script: ["echo number {number}; sleep 1"]'
    for number in range(10)
)
LONG = """
long:
  tags: [docker]
  script:
    - echo started; for second in $(seq 300); do sleep 1; done
"""
NOWHERE = """
nowhere:
  tags: [{tag}]
  script: ["true"]
"""
BOOT_DEADLINE = timedelta(minutes=5)  # a pool's by default
SAYS = r"^runner-fleet at ([\d.]+): (pulls|has|x86_64|aarch64)"


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    client = docker.from_env(timeout=900)
    yield client
    client.close()


@pytest.fixture(scope="module")
def used(
    tmp_path_factory: pytest.TempPathFactory,
    engine: docker.DockerClient,
    images: Images,
) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("site"), engine, images) as running:
        yield running


@pytest.fixture(scope="module")
def project(used: Site) -> Project:
    return used.project("shop", {})


def steps(project: Project, job: Any) -> dict[StepName, Any]:
    """What the row says so far, by step."""
    return {step.name: step for step in project.row(job).steps}


def history(project: Project, job: Any) -> dict[StepName, Any]:
    """The same once its machine's own steps are in it: at the end of the machine."""
    give_up = time.monotonic() + WITHIN_S
    while project.row(job).torn_down_at is None:
        assert time.monotonic() < give_up, project.site.consoles()
        time.sleep(0.2)
    return steps(project, job)


def pushed(used: Site, engine: docker.DockerClient, image: str, name: str) -> str:
    """An image of this engine, as a job's machine reaches it."""
    assert used.laptop.registry is not None
    used.laptop.registry.push(engine, image, f"jobs/{name}")
    return used.job_image.replace("jobs/base", f"jobs/{name}")


def test_a_job_builds_and_runs_an_image_beside_a_service(
    used: Site, project: Project, engine: docker.DockerClient, images: Images
) -> None:
    needs_gitlab_runner(images)
    text = BUILD.format(
        image=used.job_image,
        engine=pushed(used, engine, "runner-fleet-guest", "docker"),
        web=pushed(used, engine, images.ec2, "web"),  # it has Python
    )
    jobs = project.expect(project.push(text), build="success", use="success")
    assert f"made in {jobs['build'].id}" in project.log(jobs["build"])
    assert f"made in {jobs['build'].id}" in project.log(jobs["use"])
    used_there = history(project, jobs["build"])[StepName.USED].usage
    assert re.search(r"of processor, .*of memory, .* in, .* out, .* of disk left", str(used_there))


def test_the_second_run_finds_the_cache(project: Project) -> None:
    first = project.expect(project.push(CACHED), install="success")["install"]
    again = project.push(CACHED + "# again\n", message="Run it again")
    second = project.expect(again, install="success")["install"]
    assert "from the cache" in project.log(second)
    print(f"\nwithout the cache {first.duration:.1f} s, with it {second.duration:.1f} s")


def test_ten_jobs_run_at_once_and_the_first_poll_follows_the_pull(project: Project) -> None:
    names = {f"job-{number}": "success" for number in range(10)}
    began = time.monotonic()
    jobs = project.expect(project.push(MANY), **names)
    took_s = time.monotonic() - began
    machines = {project.row(job).machine for job in jobs.values()}
    assert len(machines) == 10
    print(f"\n10 jobs on 10 machines: {took_s:.1f} s")


def test_user_data_to_first_poll(used: Site, project: Project) -> None:
    """A machine's own time: from its user data to the runner's first question, less the pull."""
    single = MANY.partition("job-1:")[0]
    job = project.expect(project.push(single), **{"job-0": "success"})["job-0"]
    machine = project.row(job).machine
    text = (used.laptop.data / "guests" / f"{machine}.console").read_text()
    times = {
        what: datetime.fromtimestamp(float(at), UTC)
        for at, what in re.findall(SAYS, text, re.MULTILINE)
    }
    begun = times.get("x86_64") or times["aarch64"]
    pulled = times["has"] - times["pulls"]
    taken = history(project, job)[StepName.JOB_TAKEN].at
    print(f"\nuser data to first poll: {taken - begun - pulled}, and the pull: {pulled}")
    assert taken - begun - pulled < timedelta(seconds=30)


def test_a_spot_notice_reaches_the_job(used: Site, project: Project) -> None:
    pipeline = project.push(LONG)
    guests = used.laptop.guests
    assert guests is not None
    job = project.jobs(pipeline)["long"]
    give_up = time.monotonic() + WITHIN_S
    while "started" not in project.log(job):
        assert time.monotonic() < give_up, used.consoles()
        time.sleep(0.3)
    machine = project.row(job).machine
    assert machine is not None
    guests.inject_spot_notice(machine, in_s=60)
    while (interrupted := project.api.jobs.get(job.id)).status == "running":
        assert time.monotonic() < give_up, used.consoles()
        time.sleep(0.3)
    assert interrupted.status == "failed"
    # The executors differ.
    assert interrupted.failure_reason in {"runner_system_failure", "runner_interrupted"}
    assert StepName.SPOT_NOTICE in history(project, interrupted)
    while project.jobs(pipeline)["long"].id == job.id:
        assert time.monotonic() < give_up, "nothing runs it again"
        time.sleep(0.3)
    project.api.pipelines.get(pipeline, lazy=True).cancel()


def test_a_machine_without_docker_says_so(used: Site, project: Project) -> None:
    assert why_nowhere(used, project, tag="bare") == "this machine image has no Docker"


def test_a_machine_whose_pull_is_refused_says_so(
    used: Site, project: Project, engine: docker.DockerClient, images: Images
) -> None:
    registry = used.laptop.registry
    assert registry is not None
    registry.forget(ECR_PATH, registry.push(engine, images.ec2, ECR_PATH))
    try:
        reason = why_nowhere(used, project, tag="once")
    finally:
        registry.push(engine, images.ec2, ECR_PATH)
    assert reason.startswith("the image cannot be pulled: ")
    assert "unknown" in reason


def why_nowhere(used: Site, project: Project, *, tag: str) -> str:
    """Why the machine of a job on this pool did not start, as its row and `explain` say."""
    pipeline = project.push(NOWHERE.format(tag=tag), message=f"Try {tag}")
    give_up = time.monotonic() + WITHIN_S
    while True:
        job = project.jobs(pipeline)["nowhere"]
        so_far = steps(project, job)
        if StepName.BOOT_FAILED in so_far:
            break
        assert time.monotonic() < give_up, used.consoles()
        time.sleep(0.5)
    failure = so_far[StepName.BOOT_FAILED]
    assert failure.at - so_far[StepName.LAUNCHED].at < BOOT_DEADLINE
    command = [sys.executable, "-m", "cli", "explain", str(job.id), "--json"]
    explained = subprocess.run(
        [*command, "--stack", used.laptop.stack.name],
        env=used.laptop.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(failure.detail) in json.dumps(json.loads(explained.stdout), ensure_ascii=False)
    project.api.jobs.get(job.id, lazy=True).cancel()
    return str(failure.detail)


def test_nothing_is_left(used: Site, project: Project) -> None:
    give_up = time.monotonic() + WITHIN_S
    while not used.laptop.remains().nothing:
        assert time.monotonic() < give_up, f"{used.laptop.remains()}\n{used.consoles()}"
        time.sleep(0.5)
