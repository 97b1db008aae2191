"""After any steps in any order the indexes agree with the jobs, and every pipeline ends."""

import json
from collections import Counter
from typing import Any

from hypothesis import given, settings, strategies as st

from local.gitlab import actions
from local.gitlab.ci.file import read_pipeline
from local.gitlab.ci.types import CiError, PipelineSpec
from local.gitlab.engine import JobEnd
from local.gitlab.model import Job, Pipeline
from local.gitlab.options import Options
from local.gitlab.states import COMPLETED, Status, decide_start, status_of, status_of_needs
from tests.unit.local.gitlab.small_gitlab import SmallGitLab

STAGES = [".pre", "build", "test", "deploy", ".post"]
NAMES = "abcdef"
WHEN = [*["on_success"] * 4, "on_failure", "always", "manual", "delayed"]


def chance(draw: st.DrawFn, of: int) -> bool:
    return draw(st.integers(0, of)) == of


@st.composite
def entries(draw: st.DrawFn, stage: str, earlier: list[str]) -> dict[str, Any]:
    """One job or trigger with links to some of the `earlier` jobs, in one of eight to any name."""
    names = [*NAMES] if chance(draw, 7) else earlier
    links = st.lists(st.sampled_from(names), max_size=3, unique=True) if names else st.just([])
    entry: dict[str, Any] = {"stage": stage, "allow_failure": chance(draw, 1)}
    if chance(draw, 1):
        entry["needs"] = [{"job": need, "optional": chance(draw, 1)} for need in draw(links)]
    if chance(draw, 5):
        return {**entry, "trigger": "a/b"}
    if chance(draw, 3):
        needs = [need["job"] for need in entry.get("needs", ())]
        entry["dependencies"] = needs or draw(links)
    if chance(draw, 4):
        entry["rules"] = [{"if": draw(st.sampled_from(["$NOPE", "$CI_COMMIT_BRANCH"]))}]
        if chance(draw, 1):
            entry["rules"][0]["needs"] = draw(links)
    else:
        entry["when"] = draw(st.sampled_from(WHEN))
    return entry | draw(details) | ({"start_in": "1 min"} if entry.get("when") == "delayed" else {})


details = st.fixed_dictionaries(
    {"script": st.just("x"), "retry": st.integers(0, 1)},
    optional={"resource_group": st.just("production"), "parallel": st.integers(1, 2)},
)


@st.composite
def files(draw: st.DrawFn) -> str:
    """Jobs whose links rarely lead to a later stage or a circle, so that GitLab accepts most."""
    stages = draw(st.lists(st.sampled_from(STAGES), min_size=1, max_size=len(NAMES)))
    jobs: dict[str, dict[str, Any]] = {}
    for name, stage in zip(NAMES, sorted(stages, key=STAGES.index), strict=False):
        jobs[name] = draw(entries(stage, list(jobs)))
    ordered = reversed(jobs.items()) if draw(st.booleans()) else jobs.items()
    return json.dumps({"stages": STAGES[1:-1], **dict(ordered)})


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
        self.capable()

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
        under_way = list(self.engine.index.under_way.values())
        if under_way:
            self.engine.finish(under_way[number % len(under_way)], JobEnd(status=status))

    def drain(self) -> None:
        """Take, finish and play jobs until none is left."""
        for _ in range(500):
            waits = (Status.MANUAL, Status.SCHEDULED)
            manual = [job for job in self.engine.jobs.values() if job.status in waits]
            if self.take() is not None or self.engine.index.under_way:
                self.end_one(0, Status.SUCCESS)
            elif manual:
                actions.play(self.engine, manual[0], user=self.user)
            else:
                return
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
        index, alive = self.engine.index, (Status.RUNNING, Status.CANCELING)
        queued = {job.id for jobs in index.queue.kinds() for job in jobs}
        for indexed, states in (
            (queued, (Status.PENDING,)),
            (index.under_way, alive),
            (index.scheduled, (Status.SCHEDULED,)),
        ):
            assert set(indexed) == {n for n, status in filed.items() if status in states}
        held = [
            job
            for job in self.engine.jobs.values()
            if job.spec.resource_group and job.status in (Status.PENDING, *alive)
        ]
        assert len(held) <= 1
        assert held or Status.WAITING_FOR_RESOURCE not in filed.values()


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
            by_needs = job.spec.needs is not None
            assert decide_start(job.spec.when, before(job), by_needs=by_needs) is None


def before(job: Job) -> Status:
    """The status of the jobs that this one waits for, computed from all jobs."""
    latest, stages = job.pipeline.latest, list(job.pipeline.stages)
    if job.spec.needs is not None:
        return status_of_needs({latest[need.job].counted for need in job.spec.needs})
    earlier = stages[: stages.index(job.spec.stage)]
    return status_of({other.counted for other in latest.values() if other.spec.stage in earlier})


def accepted(text: str) -> PipelineSpec | None:
    """The pipeline of a file; None when GitLab refuses it, or no job is selected."""
    try:
        spec = read_pipeline(text, variables={"CI_COMMIT_BRANCH": "main"})
    except CiError:
        return None
    return spec if spec.jobs else None


@settings(max_examples=100, deadline=None)
@given(files(), files(), happenings)
def test_indexes_agree_hooks_are_in_order_and_every_accepted_pipeline_ends(
    first: str, second: str, events: list[tuple[str, int]]
) -> None:
    site = Observed()
    specs = [spec for text in (first, second) if (spec := accepted(text))]
    for spec in specs:
        site.engine.add_pipeline(site.request(), spec)
        site.check()
    for what, number in events if specs else ():
        site.happen(what, number)
        site.check()
    site.drain()
    site.check()
    assert {pipeline.status for pipeline in site.engine.pipelines.values()} <= COMPLETED
    assert {job.status for job in site.engine.jobs.values()} <= COMPLETED
    rank = {"created": 0, "pending": 1, "running": 2, "success": 3, "failed": 3, "canceled": 3}
    heard: dict[int, list[int]] = {}
    for job, status in site.ear.jobs:
        heard.setdefault(job.id, []).append(rank[status])
    for ranks in heard.values():
        assert ranks == sorted(set(ranks)), "each once, in order"
        assert ranks[0] == 0
