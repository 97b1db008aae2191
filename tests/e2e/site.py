"""A laptop whose EC2 machines are containers, and pipelines on it."""

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import ContainerError

from adapters.ledger.jobs import JobRow
from fleet.model import JobKey
from local.canaries import exposed_secrets
from local.gitlab.seed import create_project, push_files
from local.laptop import ContainerOptions, Laptop, LaptopOptions
from local.machines.containers import (
    LABEL,
    RIGHTS,
    build_guest_image,
    engine_mounts,
    shares_groups,
)
from tests.e2e.images import BASE, Images

BARE = "ami-00000000000000bad"  # without Docker
WITHIN_S = 300.0
START_AN_ENGINE = """
    dockerd >/run/log 2>&1 &
    for try in $(seq 300); do docker version >/dev/null 2>&1 && exit; sleep 0.2; done
    tail -n 1 /run/log >&2
    exit 1
"""
NO_INSTANCE = "no instance was there to be searched"  # EC2 forgets those that ended
OVER = frozenset({"success", "failed", "canceled", "skipped"})
POOLS = """
[gitlab]
url = "{url}"
runners_in = "project"
calls_per_minute = 2000

[pools.docker]
backend = "ec2"
tags = ["docker"]
executor = "{executor}"
instance_types = ["m7i.large", "m7a.large", "m6i.large"]
docker = {{ image = "{image}", socket = true, memory = "1g", cpus = 1.5 }}
ceiling = 12
max_lifetime = "1h"
max_job_time = "20m"

[pools.once]
backend = "ec2"
tags = ["once"]
instance_types = ["m7i.large", "m7a.large", "m6i.large"]
attempts = 1
ceiling = 2
max_lifetime = "1h"
max_job_time = "20m"

[pools.bare]
backend = "ec2"
tags = ["bare"]
instance_types = ["m7i.large", "m7a.large", "m6i.large"]
image = "{bare}"
attempts = 1
ceiling = 2
max_lifetime = "1h"
max_job_time = "20m"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The laptop, and the image of jobs as its machines reach it."""

    laptop: Laptop
    job_image: str

    def project(self, name: str, files: Mapping[str, str]) -> "Project":
        """A project with these files, whose webhook is registered."""
        url, token = self.laptop.gitlab_url, self.laptop.gitlab_token
        seeded = create_project(url, token, f"acme/{name}", {"README.md": "# E2E\n", **files})
        self.laptop.register_webhook(project=f"acme/{name}")
        api = self.laptop.gitlab_client().projects.get(seeded.id)
        return Project(site=self, clone_url=seeded.clone_url, api=api)

    def consoles(self) -> str:
        """The last lines of every machine, for a person."""
        folder = self.laptop.data / "guests"
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}"
            for path in sorted(folder.glob("*.console"))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """One project of the simulated GitLab."""

    site: Site
    clone_url: str
    api: Any

    def push(self, pipeline: str, *, message: str = "Add the pipeline") -> int:
        """Push `.gitlab-ci.yml`; the id of its pipeline."""
        before = {pipeline.id for pipeline in self.api.pipelines.list(get_all=True)}
        push_files(self.clone_url, {".gitlab-ci.yml": pipeline}, message=message)
        while True:
            new = {pipeline.id for pipeline in self.api.pipelines.list(get_all=True)} - before
            if new:
                return int(new.pop())
            time.sleep(0.1)

    def jobs(self, pipeline: int) -> dict[str, Any]:
        """The pipeline's jobs by name."""
        jobs = self.api.pipelines.get(pipeline, lazy=True).jobs.list(get_all=True)
        return {job.name: job for job in jobs}

    def finished(self, pipeline: int, *, within_s: float = WITHIN_S) -> dict[str, Any]:
        """The jobs, once all of them are over."""
        give_up = time.monotonic() + within_s
        while True:
            jobs = self.jobs(pipeline)
            if all(job.status in OVER for job in jobs.values()):
                return jobs
            assert time.monotonic() < give_up, f"{jobs}\n{self.site.consoles()}"
            time.sleep(0.3)

    def log(self, job: Any) -> str:
        """What a job wrote."""
        return str(self.api.jobs.get(job.id).trace().decode(errors="replace"))

    def row(self, job: Any) -> JobRow:
        """What the ledger knows of it, as soon as it does."""
        key = JobKey(instance=self.site.laptop.instance, job_id=job.id)
        give_up = time.monotonic() + WITHIN_S
        while (row := self.site.laptop.job_rows.row(key)) is None:
            assert time.monotonic() < give_up, f"the ledger does not know {job.name}"
            time.sleep(0.1)
        return row

    def expect(self, pipeline: int, **statuses: str) -> dict[str, Any]:
        """The jobs once they are over, as they must be; else the logs."""
        jobs = self.finished(pipeline)
        ended = {name: job.status for name, job in jobs.items()}
        logs = "\n".join(f"--- {name}\n{self.log(job)}" for name, job in jobs.items())
        assert ended == statuses, f"{logs}\n{self.site.consoles()}"
        return jobs


def needs_nested_engines(client: docker.DockerClient, folder: Path) -> None:
    """Skip where no engine starts inside a container: that is no fault of a machine's."""
    disk = folder / "disks" / "probe"
    try:
        client.containers.run(
            build_guest_image(client),
            ["bash", "-c", START_AN_ENGINE],
            mounts=engine_mounts(disk, shares_groups=shares_groups(client)),
            remove=True,
            stderr=True,
            **RIGHTS,
        )
    except ContainerError as exc:
        pytest.skip(f"no engine starts inside a container here: {exc.stderr!r}")
    finally:
        shutil.rmtree(disk)


@contextmanager
def site(folder: Path, client: docker.DockerClient, images: Images) -> Iterator[Site]:
    """The laptop, with the pools applied."""
    needs_nested_engines(client, folder)
    options = LaptopOptions(
        containers=ContainerOptions(agent=images.ec2, bare_images=(BARE,)),
        guest_settings={"FLEET_SPOT_EVERY_S": "1"},
    )
    with Laptop(folder, options) as laptop:
        assert laptop.registry is not None
        laptop.registry.push(client, BASE, "jobs/base")
        job_image = f"{laptop.registry.address}/jobs/base:pushed"
        laptop.apply(
            POOLS.format(
                url=laptop.gitlab_url, executor=images.executor, image=job_image, bare=BARE
            )
        )
        laptop.warm()
        yield Site(laptop=laptop, job_image=job_image)
        leaks = {*exposed_secrets(laptop)} - {NO_INSTANCE}
        assert not leaks, leaks
    guests = {path.stem for path in (folder / "guests").glob("*.console")}
    containers = client.containers.list(all=True, filters={"label": LABEL})
    assert guests.isdisjoint(container.labels[LABEL] for container in containers)
    assert not list((folder / "disks").iterdir())
