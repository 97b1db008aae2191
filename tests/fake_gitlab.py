"""The GitLab client in memory: jobs, runner records, projects, and failures on demand."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from adapters.gitlab.api import GitLabApi
from adapters.gitlab.call_allowance import CallsLeft
from adapters.gitlab.client import GitLab
from adapters.gitlab.values import (
    CreatedRunner,
    GitLabJob,
    GitLabProject,
    GitLabRunner,
    GitLabToken,
    NewRunner,
)
from fleet.errors import FleetError, Refused

NOT_THERE = Refused("GitLab does not have it", status=404)
OVER = frozenset({"success", "failed", "canceled", "skipped"})


class FakeApi(GitLabApi):
    """Plain calls: `answers` by path, `sent` has what was posted, put or deleted."""

    def __init__(self) -> None:
        self.url = "https://gitlab.example.com"
        self.answers: dict[str, Any] = {}
        self.sent: list[tuple[str, str]] = []
        self.said_left: CallsLeft | None = None  # of its limit

    @property
    def calls_left(self) -> CallsLeft:
        return CallsLeft(left=450, of=600)

    @property
    def left_at_gitlab(self) -> CallsLeft | None:
        return self.said_left

    def _answer(self, verb: str, path: str) -> Any:
        if verb != "GET":
            self.sent.append((verb, path))
        answer = self.answers.get(f"{verb} {path}", self.answers.get(path, NOT_THERE))
        if isinstance(answer, FleetError):
            raise answer
        return answer

    def get(self, path: str, **query: Any) -> Any:
        return self._answer("GET", path)

    def text(self, path: str) -> str:
        return str(self._answer("GET", path))

    def pages(self, path: str, **query: Any) -> Iterator[Mapping[str, Any]]:
        yield from self._answer("GET", path)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self._answer("POST", path)

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._answer("PUT", path)

    def delete(self, path: str) -> None:
        self._answer("DELETE", path)


class FakeGitLab(GitLab):
    """One GitLab. `failing`: what a method raises, by its name, until it is taken out again.

    `pending_jobs 7` fails for project 7 only.
    """

    def __init__(self) -> None:
        self.fake_api = FakeApi()
        self.api = self.fake_api
        self.jobs: dict[int, GitLabJob] = {}
        self.records: dict[int, GitLabRunner] = {}
        self.wanted: dict[int, NewRunner] = {}  # as it was made or updated last
        self.projects: dict[str, GitLabProject] = {}
        self.groups: dict[str, list[int]] = {}
        self.groups_by_project: dict[int, tuple[int, ...]] = {}  # from its own to the top
        self.logs: dict[int, list[str]] = {}  # by job, what each question finds
        self.verified: list[str] = []
        self.token = GitLabToken(scopes=frozenset({"api"}))
        self.calls: list[str] = []
        self.failing: dict[str, FleetError] = {}
        self.clock: Callable[[], datetime] | None = None  # with it, tokens can expire
        self.token_lifetime: timedelta | None = None
        self.token_ends: dict[str, datetime] = {}
        self.invalid: set[str] = set()  # tokens that GitLab does not know
        # By branch, or "tag v1"; others are not protected.
        self.protected: dict[str, bool | None] = {"main": True}
        self._ids = count(1000)

    def add(self, job: GitLabJob) -> GitLabJob:
        self.jobs[job.id] = job
        return job

    def change(self, job_id: int, **facts: Any) -> GitLabJob:
        return self.add(replace(self.jobs[job_id], **facts))

    def add_project(self, project: GitLabProject) -> None:
        self.projects |= {str(project.id): project, project.path: project}

    def _called(self, name: str, about: object = None) -> None:
        self.calls.append(name)
        for failing in (name, f"{name} {about}"):
            if failing in self.failing:
                raise self.failing[failing]

    def job(self, project_id: int, job_id: int) -> GitLabJob | None:
        self._called("job")
        job = self.jobs.get(job_id)
        return job if job and job.project_id == project_id else None

    def log(self, project_id: int, job_id: int) -> str:
        """The next of the job's logs; the last one stays."""
        self._called("log", job_id)
        logs = self.logs.get(job_id, [])
        return logs.pop(0) if len(logs) > 1 else "".join(logs)

    def pending_jobs(self, project_id: int, *, at_most: int | None = None) -> list[GitLabJob]:
        """What waits in one project, oldest first; the newest where more wait than `at_most`."""
        self._called("pending_jobs", project_id)
        waiting = [job for job in self.jobs.values() if job.status == "pending"]
        jobs = [job for job in waiting if job.project_id == project_id]
        newest = sorted(jobs, key=lambda job: job.id, reverse=True)[:at_most]
        return newest[::-1]

    def is_protected(self, project_id: int, ref: str, *, is_tag: bool) -> bool | None:
        self._called("is_protected", ref)
        return self.protected.get(f"tag {ref}" if is_tag else ref, False)

    def retry_job(self, project_id: int, job_id: int) -> GitLabJob:
        self._called("retry_job")
        old = self.jobs[job_id]
        if old.status not in OVER:
            raise Refused("GitLab does not accept this request", status=403)
        names = ("runner_id", "runner_description", "started_at", "finished_at", "failure_reason")
        fresh: dict[str, Any] = dict.fromkeys(names)
        return self.add(replace(old, id=next(self._ids), status="pending", **fresh))

    def cancel_job(self, project_id: int, job_id: int) -> GitLabJob:
        self._called("cancel_job")
        if self.jobs[job_id].status not in OVER:
            ended_at = self.clock() if self.clock is not None else None
            self.change(job_id, status="canceled", finished_at=ended_at)
        return self.jobs[job_id]

    def pipeline_jobs(self, project_id: int, pipeline_id: int) -> list[GitLabJob]:
        self._called("pipeline_jobs")
        jobs = [job for job in self.jobs.values() if job.pipeline_id == pipeline_id]
        return list({job.name: job for job in sorted(jobs, key=lambda job: job.id)}.values())

    def pending_in_pipeline(
        self, project_id: int, pipeline_id: int, *, at_most: int
    ) -> list[GitLabJob]:
        self._called("pending_in_pipeline")
        jobs = [job for job in self.jobs.values() if job.pipeline_id == pipeline_id]
        waiting = [job for job in jobs if job.status == "pending"]
        return sorted(waiting, key=lambda job: job.id)[:at_most]

    def create_runner(self, new: NewRunner) -> CreatedRunner:
        self._called("create_runner", new.owner_id)
        number = next(self._ids)
        self._keep(number, new)
        token = f"glrt-{number}"
        if self.token_lifetime is not None and self.clock is not None:
            self.token_ends[token] = self.clock() + self.token_lifetime
        ends = self.token_ends.get(token)
        return CreatedRunner(id=number, token=token, token_expires_at=ends)

    def _keep(self, number: int, wanted: NewRunner) -> None:
        owners = (wanted.owner_id,) if wanted.owner_id is not None else ()
        self.wanted[number] = wanted
        self.records[number] = GitLabRunner(
            id=number,
            description=wanted.description,
            runner_type=wanted.kind,
            tags=wanted.tags,
            run_untagged=wanted.run_untagged,
            access_level="ref_protected" if wanted.protected_only else "not_protected",
            maximum_timeout_s=wanted.maximum_timeout_s,
            group_ids=owners if wanted.kind == "group_type" else (),
            project_ids=owners if wanted.kind == "project_type" else (),
        )

    def runner(self, runner_id: int) -> GitLabRunner | None:
        self._called("runner")
        return self.records.get(runner_id)

    def update_runner(self, runner_id: int, wanted: NewRunner) -> None:
        self._called("update_runner")
        self._keep(runner_id, wanted)

    def delete_runner(self, runner_id: int) -> None:
        self._called("delete_runner")
        self.records.pop(runner_id, None)

    def runners_described(
        self, prefix: str, *, kind: str | None = None, owner_id: int | None = None
    ) -> list[GitLabRunner]:
        self._called("runners_described")
        return [record for record in self.records.values() if record.description.startswith(prefix)]

    def runner_jobs(self, runner_id: int, *, status: str | None = None) -> list[GitLabJob]:
        self._called("runner_jobs")
        jobs = [job for job in self.jobs.values() if job.runner_id == runner_id]
        return [job for job in jobs if status in {None, job.status}]

    def is_valid(self, token: str) -> bool:
        """Whether GitLab takes a runner's token: it is not reset, deleted or expired."""
        ends = self.token_ends.get(token)
        is_over = ends is not None and self.clock is not None and self.clock() >= ends
        return token not in self.invalid and not is_over

    def verify_runner(self, token: str, *, system_id: str = "s_test") -> datetime | None:
        self._called("verify_runner")
        if not self.is_valid(token):
            raise Refused("403 Forbidden", call="POST /runners/verify", status=403)
        self.verified.append(token)
        return self.token_ends.get(token)

    def group_projects(self, group_id: int | str) -> Iterator[GitLabProject]:
        self._called("group_projects")
        for number in self.groups.get(str(group_id), []):
            yield self.projects[str(number)]

    def groups_above(self, project_id: int) -> tuple[int, ...]:
        self._called("groups_above", project_id)
        return self.groups_by_project.get(project_id, ())

    def project(self, id_or_path: int | str) -> GitLabProject:
        self._called("project")
        if str(id_or_path) not in self.projects:
            raise NOT_THERE
        return self.projects[str(id_or_path)]

    def own_token(self) -> GitLabToken:
        self._called("own_token")
        return self.token

    def version(self) -> str:
        self._called("version")
        return "19.1.0-ee"
