"""After any steps in any order the indexes agree with the jobs, and every pipeline ends."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings, strategies as st

from local.gitlab import actions
from local.gitlab.ci.types import JobSpec, NeedSpec, RetrySpec
from local.gitlab.engine import JobEnd
from local.gitlab.model import Job, Pipeline, RunnerManager
from local.gitlab.options import Options
from local.gitlab.states import COMPLETED, Status, decide_start, status_of, status_of_needs
from tests.unit.local.gitlab.small_gitlab import NOON, SmallGitLab, job_spec

STAGES = ("build", "test", "deploy")
WHEN = [*["on_success"] * 4, "on_failure", "always", "manual", "delayed"]
# Where a pipeline may stop while its manual jobs are not played and no time passes.
AT_REST = COMPLETED | {Status.MANUAL, Status.SCHEDULED}


@st.composite
def job_specs(draw: st.DrawFn) -> list[JobSpec]:
    """A few jobs; each needs only earlier jobs of its own or earlier stages (GitLab's rule)."""
    specs: list[JobSpec] = []
    for number in range(draw(st.integers(1, 7))):
        stage = draw(st.sampled_from(STAGES))
        earlier = [spec.name for spec in specs if STAGES.index(spec.stage) <= STAGES.index(stage)]
        rest: dict[str, Any] = {
            "when": draw(st.sampled_from(WHEN)),
            "allow_failure": draw(st.booleans()),
            "retry": RetrySpec(max=draw(st.integers(0, 1))),
            "resource_group": draw(st.sampled_from([None, None, None, "production"])),
        }
        has_needs = draw(st.booleans())
        if earlier and has_needs:
            names = draw(st.lists(st.sampled_from(earlier), max_size=3, unique=True))
            rest["needs"] = [NeedSpec(job=name) for name in names]
        specs.append(job_spec(f"job {number}", stage, **rest))
    return specs


# Events, each with the number of a job (modulo the number of jobs).
happenings = st.lists(
    st.tuples(
        st.sampled_from(["take", "succeed", "fail", "cancel", "retry", "play", "cancel all"]),
        st.integers(0, 100),
    ),
    max_size=25,
)


class Observed(SmallGitLab):
    """A small GitLab whose indexes can be checked after each event."""

    def __init__(self) -> None:
        super().__init__(Options(cancels_gracefully=True))
        self.runner.managers["s_1"] = RunnerManager(
            id=1, system_id="s_1", created_at=NOON, cancels_gracefully=True
        )

    def happen(self, what: str, number: int) -> None:
        """Apply one event where the state of its job allows it."""
        engine = self.engine
        jobs = list(engine.jobs.values())
        job = jobs[number % len(jobs)]
        if what == "take":
            self.take()
        elif what in ("succeed", "fail"):
            self.end_one(number, Status.SUCCESS if what == "succeed" else Status.FAILED)
        elif what == "cancel":
            actions.cancel(engine, job, force=number % 2 == 0)
        elif what == "cancel all":
            actions.cancel_pipeline(engine, job.pipeline)
        elif what == "retry" and job.status in COMPLETED - {Status.SKIPPED} and not job.is_retried:
            actions.retry(engine, job, user=self.user)
        elif what == "play" and job.status in (Status.MANUAL, Status.SCHEDULED):
            actions.play(engine, job, user=self.user)

    def end_one(self, number: int, status: Status) -> None:
        """End one running or canceling job."""
        under_way = list(self.engine.index.under_way.values())
        if under_way:
            self.engine.finish(under_way[number % len(under_way)], JobEnd(status=status))

    def drain(self) -> None:
        """Take and finish jobs until none is left."""
        for _ in range(500):
            if self.take() is None and not self.engine.index.under_way:
                return
            self.end_one(0, Status.SUCCESS)
        raise AssertionError("it never ends")

    def check(self) -> None:
        """Check the indexes against the jobs; no job waits that could start."""
        for pipeline in self.engine.pipelines.values():
            check_pipeline(pipeline)
        filed = {
            number: status
            for status, jobs in self.project.by_status.items()
            for number, job in jobs.items()
            if job.status is status
        }
        assert filed == {job.id: job.status for job in self.engine.jobs.values()}
        queued = {job.id for jobs in self.engine.index.queue.kinds() for job in jobs}
        assert queued == {n for n, status in filed.items() if status is Status.PENDING}
        index, alive = self.engine.index, (Status.RUNNING, Status.CANCELING)
        assert set(index.under_way) == {n for n, status in filed.items() if status in alive}
        scheduled = {n for n, status in filed.items() if status is Status.SCHEDULED}
        assert set(index.scheduled) == scheduled
        held = [
            job
            for job in self.engine.jobs.values()
            if job.spec.resource_group and job.status in (Status.PENDING, *alive)
        ]
        waiting = [s for s in filed.values() if s is Status.WAITING_FOR_RESOURCE]
        assert len(held) <= 1
        assert held or not waiting


def check_pipeline(pipeline: Pipeline) -> None:
    latest = [job for job in pipeline.jobs.values() if not job.is_retried]
    assert {job.spec.name: job for job in latest} == pipeline.latest
    for stage in pipeline.stages:
        counted = Counter(job.counted for job in latest if job.spec.stage == stage)
        assert pipeline.tallies.get(stage, Counter()) == counted
        assert 0 not in pipeline.tallies.get(stage, Counter()).values()
    assert pipeline.status is status_of({job.counted for job in latest})
    for job in latest:
        if job.status is Status.CREATED:
            assert decide_start(job.spec.when, before(job), by_needs=by_needs(job)) is None


def by_needs(job: Job) -> bool:
    return job.spec.needs is not None


def before(job: Job) -> Status:
    """The status of the jobs that this one waits for, computed from all jobs."""
    latest = job.pipeline.latest
    if job.spec.needs is not None:
        return status_of_needs({latest[need.job].counted for need in job.spec.needs})
    earlier = STAGES[: STAGES.index(job.spec.stage)]
    return status_of({other.counted for other in latest.values() if other.spec.stage in earlier})


@settings(max_examples=100, deadline=None)
@given(job_specs(), job_specs(), happenings)
def test_indexes_agree_hooks_are_in_order_and_every_pipeline_comes_to_rest(
    first: list[JobSpec], second: list[JobSpec], events: list[tuple[str, int]]
) -> None:
    site = Observed()
    for specs in (first, second):
        site.start(*specs, stages=STAGES)
        site.check()
    for what, number in events:
        site.happen(what, number)
        site.check()
    site.drain()
    site.check()
    assert {pipeline.status for pipeline in site.engine.pipelines.values()} <= AT_REST
    assert not site.engine.index.under_way
    rank = {"created": 0, "pending": 1, "running": 2, "success": 3, "failed": 3, "canceled": 3}
    heard: dict[int, list[int]] = {}
    for job, status in site.ear.jobs:
        heard.setdefault(job.id, []).append(rank[status])
    for ranks in heard.values():
        assert ranks == sorted(set(ranks)), "each once, in order"
        assert ranks[0] == 0
