"""One project, one engine and a manual clock; no files and no server."""

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
    RunnerManager,
    User,
)
from local.gitlab.options import Clock, Options
from local.gitlab.states import Status

NOON = datetime(2026, 8, 20, 12, 0, 0, tzinfo=UTC)
SHA = "4be2a6d0c1f34758a9b0c1d2e3f405162738495a"


class ManualClock(Clock):
    """A clock that stands at noon until `advance`."""

    def now(self) -> datetime:
        """The present instant."""
        return NOON + self._skipped


class Ear:
    """A listener that records every hook."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Job, Status]] = []
        self.pipelines: list[Status] = []

    def job_moved(self, job: Job) -> None:
        self.jobs.append((job, job.status))

    def pipeline_moved(self, pipeline: Pipeline) -> None:
        self.pipelines.append(pipeline.status)

    def heard_of(self, name: str) -> list[str]:
        """The states in the hooks of one job name, in order."""
        return [str(status) for job, status in self.jobs if job.spec.name == name]


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
    """A job; `needs` also takes names, and `retry` a number."""
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
    """An engine with one project, and a runner that may take every job."""

    def __init__(self, options: Options | None = None) -> None:
        self.ear = Ear()
        self.clock = ManualClock()
        self.engine = PipelineEngine(
            options=options or Options(), clock=self.clock, listener=self.ear
        )
        self.project = project()
        self.user = user(is_admin=True)
        self.project.group.members[self.user.id] = Role.OWNER
        self.runner = runner("ec2", "docker", "lambda", "node")

    def request(self, **rest: Any) -> PipelineRequest:
        """A push to main; `rest` replaces fields."""
        fields: dict[str, Any] = {
            "project": self.project,
            "ref": "main",
            "is_tag": False,
            "commit": commit(),
            "before_sha": NO_SHA,
            "source": "push",
            "user": self.user,
            **rest,
        }
        return PipelineRequest(**fields)

    def start(self, *jobs: JobSpec, stages: Sequence[str] | None = None, **rest: Any) -> Pipeline:
        """A pipeline of these jobs; without `stages`, they follow the order of the jobs."""
        names = tuple(stages or dict.fromkeys(job.stage for job in jobs))
        return self.engine.add_pipeline(
            self.request(**rest), PipelineSpec(stages=names, jobs=tuple(jobs))
        )

    def capable(self) -> Runner:
        """The runner, which can cancel gracefully."""
        self.runner.managers["s_1"] = RunnerManager(
            id=1, system_id="s_1", created_at=NOON, cancels_gracefully=True
        )
        return self.runner

    def take(self, by: Runner | None = None) -> Job | None:
        """The job that the runner gets, or None."""
        return self.engine.take(by or self.runner, system_id="s_1")

    def run(self, pipeline: Pipeline, name: str) -> Job:
        """Run one pending job, which must be the oldest."""
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
        """The state of the newest job of each name."""
        return {name: str(job.status) for name, job in pipeline.latest.items()}


def check_shape(value: Any, shape: Any, at: str) -> None:
    """`value` has the keys of `shape` and no others, each of its type.

    A shape is `str`, or `str or null`; a dict for an object, a list of one shape
    for a list that is not empty, `list` for any; a key `a b` stands for both.
    """
    if isinstance(shape, dict):
        keys = {key: wanted for names, wanted in shape.items() for key in names.split()}
        assert set(value) == set(keys), at
        for key, wanted in keys.items():
            check_shape(value[key], wanted, f"{at}.{key}")
    elif isinstance(shape, list):
        assert value, at
        for item in value:
            check_shape(item, shape[0], at)
    else:
        kinds = shape.replace("null", "NoneType").split(" or ")
        assert type(value).__name__ in kinds, at
