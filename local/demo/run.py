"""The main job on one machine: push a pipeline, watch it run on runners made for it, prove the end.

Everything it asks is asked as a user would: git, GitLab's REST API, the `runner-fleet` command,
and the ledger that `status` and `explain` read.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from adapters.ledger.jobs import JobRow
from fleet.model import JobKey
from local.canaries import exposed_secrets
from local.demo.project import CANCELLED, CONFIG, EXPECTED, FILES, PATH, PIPELINE, UNSERVED
from local.gitlab.seed import SeededProject, create_project, push_files
from local.laptop import Laptop
from local.remains import Remains

LOOK_EVERY_S = 0.25
JOBS_TIMEOUT_S = 120.0
LEFT_TIMEOUT_S = 75.0  # a minute's tick is among it


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoJob:
    """One row of the table. Times in seconds; None where there is none (yet)."""

    id: int
    name: str
    tags: tuple[str, ...]
    pool: str | None
    backend: str | None
    machine: str | None
    status: str
    waited_s: float | None
    ran_s: float | None
    torn_down: bool
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """The jobs of the demo, what is left, and the problems."""

    seconds: float
    jobs: tuple[DemoJob, ...]
    left: Remains
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Every job ended as it must and nothing is left."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {
            "ok": self.ok,
            "seconds": round(self.seconds, 1),
            "jobs": [asdict(job) for job in self.jobs],
            "left": asdict(self.left),
            "problems": list(self.problems),
        }


class Demo:
    """The demo on a laptop that is up. `began_at`: when the clock of `seconds` started."""

    def __init__(self, laptop: Laptop, *, began_at: float) -> None:
        self._laptop = laptop
        self._began_at = began_at
        self._client = laptop.gitlab_client()
        self._project: SeededProject | None = None

    def prepare(self) -> None:
        """Apply the pools, create the project, register its webhook with our own command."""
        self._laptop.apply(CONFIG.format(gitlab_url=self._laptop.gitlab_url))
        self._laptop.warm()
        url, token = self._laptop.gitlab_url, self._laptop.gitlab_token
        self._project = create_project(url, token, PATH, FILES)
        self._laptop.register_webhook(project=PATH)

    def push(self) -> int:
        """Push the pipeline's file; the id of the pipeline that GitLab starts."""
        push_files(self._prepared.clone_url, PIPELINE, message="Add the pipeline")
        listed = self._project_api.pipelines.list
        pipelines = wait_for(lambda: listed(get_all=True), "a pipeline", 15)
        return int(pipelines[0].id)

    def watch(self, pipeline_id: int) -> Iterator[tuple[DemoJob, ...]]:
        """The jobs, again and again, until each is over and its machine is gone.

        Cancels one job as soon as it runs, and at the end the job that no pool serves.
        """
        deadline = time.monotonic() + JOBS_TIMEOUT_S
        cancelled: set[str] = set()
        while time.monotonic() < deadline:
            jobs = self.jobs(pipeline_id)
            yield jobs
            self._cancel(jobs, cancelled)
            over = {"success", "failed", "canceled", "skipped"}
            if all(job.status in over and job.torn_down for job in jobs):
                return
            time.sleep(LOOK_EVERY_S)

    def finish(self, pipeline_id: int) -> DemoResult:
        """The result, as soon as nothing is left."""
        remains = self._laptop.remains()
        deadline = time.monotonic() + LEFT_TIMEOUT_S
        while not remains.nothing and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)
            remains = self._laptop.remains()
        jobs = self.jobs(pipeline_id)
        problems = [*(_problems(jobs)), *remains.problems(), *exposed_secrets(self._laptop)]
        seconds = time.monotonic() - self._began_at
        return DemoResult(seconds=seconds, jobs=jobs, left=remains, problems=tuple(problems))

    def jobs(self, pipeline_id: int) -> tuple[DemoJob, ...]:
        """Each job as GitLab and the ledger know it now."""
        pipeline = self._project_api.pipelines.get(pipeline_id, lazy=True)
        jobs = pipeline.jobs.list(get_all=True)
        return tuple(self._job(job.asdict()) for job in sorted(jobs, key=lambda job: job.id))

    def _job(self, job: dict[str, Any]) -> DemoJob:
        key = JobKey(instance=self._laptop.instance, job_id=job["id"])
        row = self._laptop.job_rows.row(key)
        machine = row.machine if row else None
        pool = row.job.pool if row else None
        return DemoJob(
            id=job["id"],
            name=job["name"],
            tags=tuple(job["tag_list"]),
            pool=pool,
            backend=self._laptop.backend_of(pool),
            machine=machine,
            status=job["status"],
            waited_s=_rounded(job.get("queued_duration")),
            ran_s=_rounded(job.get("duration")),
            torn_down=machine is None or (row is not None and row.torn_down_at is not None),
            reason=_reason(row),
        )

    def _cancel(self, jobs: tuple[DemoJob, ...], cancelled: set[str]) -> None:
        for job in jobs:
            if job.name in cancelled:
                continue
            is_working = job.name == CANCELLED and job.status == "running" and job.machine
            others = [other for other in jobs if other.name != UNSERVED]
            is_last = all(other.status in {"success", "failed", "canceled"} for other in others)
            if is_working or (job.name == UNSERVED and is_last and job.reason):
                self._project_api.jobs.get(job.id, lazy=True).cancel()
                cancelled.add(job.name)

    @property
    def _prepared(self) -> SeededProject:
        if self._project is None:
            raise RuntimeError("prepare() comes first")
        return self._project

    @property
    def _project_api(self) -> Any:
        return self._client.projects.get(self._prepared.id, lazy=True)


def wait_for(look: Callable[[], Any], what: str, timeout_s: float) -> Any:
    """The first answer that is not empty. Raises `TimeoutError` that names `what`."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if answer := look():
            return answer
        time.sleep(LOOK_EVERY_S)
    raise TimeoutError(f"{what} did not come within {timeout_s:.0f} s")


def _problems(jobs: tuple[DemoJob, ...]) -> Iterator[str]:
    """Where a job is not as it must be."""
    by_name = {job.name: job for job in jobs}
    for name, expected in EXPECTED.items():
        job = by_name.get(name)
        if job is None:
            yield f"{name}: GitLab made no such job"
            continue
        if job.status != expected.status:
            yield f"{name}: {job.status}, should be {expected.status}"
        if job.pool != expected.pool:
            yield f"{name}: went to pool {job.pool}, should be {expected.pool}"
        if not job.torn_down:
            yield f"{name}: its machine {job.machine} was not torn down"


def _reason(row: JobRow | None) -> str | None:
    if row is None or row.job.reason is None:
        return None
    return row.failure_reason or row.job.reason.value


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
