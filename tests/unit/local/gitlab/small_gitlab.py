"""A GitLab small enough to hold in one hand: one project, one engine, a clock that is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from local.gitlab.ci.types import JobSpec, NeedSpec, PipelineSpec, RetrySpec
from local.gitlab.engine import JobEnd, PipelineEngine
from local.gitlab.model import (
    NO_SHA,
    Commit,
    Group,
    Job,
    Pipeline,
    PipelineRequest,
    Project,
    Role,
    Runner,
    User,
)
from local.gitlab.options import Clock, Options
from local.gitlab.states import Status

NOON = datetime(2026, 8, 20, 12, 0, 0, tzinfo=UTC)
SHA = "4be2a6d0c1f34758a9b0c1d2e3f405162738495a"


class ToldClock(Clock):
    """Stands still until it is told to go on."""

    def __init__(self, at: datetime = NOON) -> None:
        super().__init__()
        self._at = at

    def now(self) -> datetime:
        """The instant it was told."""
        return self._at

    def advance(self, by: timedelta) -> None:
        """Go on by so much."""
        self._at += by


class Ear:
    """A listener that writes down what it hears."""

    def __init__(self) -> None:
        self.jobs: list[tuple[str, Status]] = []
        self.pipelines: list[Status] = []

    def job_moved(self, job: Job) -> None:
        """Write down the job's name and state."""
        self.jobs.append((job.spec.name, job.status))

    def pipeline_moved(self, pipeline: Pipeline) -> None:
        """Write down the pipeline's state."""
        self.pipelines.append(pipeline.status)

    def heard_of(self, name: str) -> list[str]:
        """The states of one job's events, in order."""
        return [str(status) for heard, status in self.jobs if heard == name]


def user(number: int = 1, *, is_admin: bool = False) -> User:
    return User(
        id=number,
        username=f"user{number}",
        name=f"User {number}",
        email=f"user{number}@example.com",
        is_admin=is_admin,
    )


def group(path: str = "acme", *, number: int = 1, parent: Group | None = None) -> Group:
    return Group(id=number, path=path, name=path.title(), parent=parent)


def project(path: str = "demo", *, number: int = 1, within: Group | None = None) -> Project:
    return Project(
        id=number,
        path=path,
        name=path.title(),
        group=within or group(),
        repository=Path(f"/nowhere/{number}.git"),
        created_at=NOON,
        build_timeout_s=3600,
    )


def commit(message: str = "Speed up tests\n") -> Commit:
    return Commit(
        sha=SHA,
        message=message,
        author_name="Dana Roe",
        author_email="dana@example.com",
        authored_at=NOON - timedelta(minutes=5),
    )


def job_spec(name: str, stage: str = "test", **rest: Any) -> JobSpec:
    """A job; `needs` and `retry` may be given in short: names, and a number of attempts."""
    needs = rest.pop("needs", None)
    if needs is not None:
        rest["needs"] = tuple(
            need if isinstance(need, NeedSpec) else NeedSpec(job=need) for need in needs
        )
    retry = rest.pop("retry", None)
    if retry is not None:
        rest["retry"] = retry if isinstance(retry, RetrySpec) else RetrySpec(max=retry)
    return JobSpec(name=name, stage=stage, script=("true",), **rest)


def runner(
    *tags: str,
    number: int = 1,
    kind: str = "instance_type",
    owner: Group | Project | None = None,
    **rest: Any,
) -> Runner:
    return Runner(
        id=number,
        token=f"glrt-{number}",
        runner_type=kind,
        created_at=NOON,
        creator=user(),
        group=owner if isinstance(owner, Group) else None,
        projects={owner.id: owner} if isinstance(owner, Project) else {},
        tags=frozenset(tags),
        **rest,
    )


class SmallGitLab:
    """An engine with one project and a runner that may take everything."""

    def __init__(self, options: Options | None = None) -> None:
        self.ear = Ear()
        self.clock = ToldClock()
        self.engine = PipelineEngine(
            options=options or Options(), clock=self.clock, listener=self.ear
        )
        self.project = project()
        self.user = user(is_admin=True)
        self.project.group.members[self.user.id] = Role.OWNER
        self.runner = runner("ec2", "docker", "lambda", "node")

    def request(self, **rest: Any) -> PipelineRequest:
        """A push to main, unless told otherwise."""
        given: dict[str, Any] = {
            "project": self.project,
            "ref": "main",
            "is_tag": False,
            "commit": commit(),
            "before_sha": NO_SHA,
            "source": "push",
            "user": self.user,
            **rest,
        }
        return PipelineRequest(**given)

    def start(self, *jobs: JobSpec, stages: Sequence[str] | None = None, **rest: Any) -> Pipeline:
        """A pipeline of these jobs; its stages in order of appearance unless given."""
        found = tuple(stages or dict.fromkeys(job.stage for job in jobs))
        return self.engine.add_pipeline(
            self.request(**rest), PipelineSpec(stages=found, jobs=tuple(jobs))
        )

    def take(self, by: Runner | None = None) -> Job | None:
        """What the runner gets when it asks."""
        return self.engine.take(by or self.runner, system_id="s_1")

    def run(self, pipeline: Pipeline, name: str) -> Job:
        """Bring one pending job to a runner; others of its kind must not be before it."""
        job = pipeline.latest[name]
        while job.status is Status.PENDING:
            taken = self.take()
            assert taken is not None
            assert taken is job, f"{taken.spec.name} was before {name}"
        return job

    def end(self, pipeline: Pipeline, name: str, status: str = "success", **rest: Any) -> Job:
        """Run one job and end it."""
        job = self.run(pipeline, name)
        self.engine.finish(job, JobEnd(status=Status(status), **rest))
        return job

    def statuses(self, pipeline: Pipeline) -> Mapping[str, str]:
        """The state of every job that counts, by name."""
        return {name: str(job.status) for name, job in pipeline.latest.items()}
