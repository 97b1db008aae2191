"""A fleet on this machine whose Lambda runners are containers of the built image."""

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

from fleet.model import JobKey
from local.demo.run import wait_for
from local.gitlab.seed import SeededProject, create_project, push_files
from local.laptop import ContainerOptions, Laptop, LaptopOptions
from local.machines.lambda_containers import LABEL, LambdaContainers

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
def lambda_site(image: str, *, ceiling: int = 24) -> Iterator[LambdaSite]:
    """The site, brought up and down again. `image`: the Lambda runners', with the emulator."""
    client = docker.from_env()
    options = LaptopOptions(containers=ContainerOptions(sandbox=image), boots_guests=False)
    with (
        tempfile.TemporaryDirectory(prefix="fleet-e2e-") as folder,
        Laptop(Path(folder), options) as laptop,
    ):
        laptop.apply(CONFIG.format(url=laptop.gitlab_url, ceiling=ceiling))
        laptop.warm()
        url, token = laptop.gitlab_url, laptop.gitlab_token
        project = create_project(url, token, "acme/shop", {"README.md": "A project\n"})
        laptop.register_webhook(project="acme/shop")
        yield LambdaSite(laptop, project)
    assert containers_left(client, laptop) == []


def containers_left(client: docker.DockerClient, laptop: Laptop) -> list[str]:
    """The names of a laptop's sandboxes that still are."""
    ours = f"{LABEL}={laptop.data / 'lambda'}"
    return [
        str(container.name)
        for container in client.containers.list(all=True, filters={"label": ours})
    ]


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
