"""Every accepted CI file makes a pipeline that ends, once its manual jobs are played."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings, strategies as st

from local.gitlab import actions
from local.gitlab.ci.file import read_pipeline
from local.gitlab.ci.types import CiError
from local.gitlab.engine import JobEnd
from local.gitlab.states import COMPLETED, Status
from tests.unit.local.gitlab.small_gitlab import SmallGitLab

STAGES = [".pre", "build", "test", "deploy", ".post"]
NAMES = "abcde"


@st.composite
def entries(draw: st.DrawFn, stage: str, earlier: list[str]) -> dict[str, Any]:
    """One job or trigger with links to some of the `earlier` jobs, in one of eight to any name."""

    def chance(of: int) -> bool:
        return draw(st.integers(0, of)) == of

    names = [*NAMES] if chance(7) else earlier
    links = st.lists(st.sampled_from(names), max_size=3, unique=True) if names else st.just([])
    is_trigger = chance(5)
    entry: dict[str, Any] = {
        "stage": stage,
        **({"trigger": "a/b"} if is_trigger else {"script": "x"}),
    }
    if chance(1):
        entry["needs"] = [{"job": need, "optional": chance(1)} for need in draw(links)]
    if not is_trigger and chance(3):
        needs = [need["job"] for need in entry.get("needs", ())]
        entry["dependencies"] = needs or draw(links)
    if chance(4):
        entry["rules"] = [{"if": draw(st.sampled_from(["$NOPE", "$CI_COMMIT_BRANCH"]))}]
        if chance(1):
            entry["rules"][0]["needs"] = draw(links)
    elif chance(1):
        entry["when"] = draw(st.sampled_from(["on_success", "on_failure", "always", "manual"]))
    if not is_trigger and chance(4):
        entry["parallel"] = draw(st.integers(1, 2))
    return entry


@st.composite
def files(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """Jobs whose links rarely lead to a later stage or a circle, so that GitLab accepts most."""
    stages = draw(st.lists(st.sampled_from(STAGES), min_size=1, max_size=5))
    jobs: dict[str, dict[str, Any]] = {}
    for name, stage in zip(NAMES, sorted(stages, key=STAGES.index), strict=False):
        jobs[name] = draw(entries(stage, list(jobs)))
    return dict(reversed(jobs.items())) if draw(st.booleans()) else jobs


@settings(max_examples=100, deadline=None)
@given(files(), st.lists(st.booleans()))
def test_the_pipeline_of_an_accepted_file_ends(
    jobs: dict[str, dict[str, Any]], successes: list[bool]
) -> None:
    text = json.dumps({"stages": STAGES[1:-1], **jobs})
    try:
        spec = read_pipeline(text, variables={"CI_COMMIT_BRANCH": "main"})
    except CiError:
        return
    if not spec.jobs:
        return
    site = SmallGitLab()
    pipeline = site.engine.add_pipeline(site.request(), spec)
    outcomes = iter(successes)
    for _ in range(200):
        job = site.take()
        manual = [job for job in pipeline.latest.values() if job.status is Status.MANUAL]
        if job is not None:
            status = Status.SUCCESS if next(outcomes, True) else Status.FAILED
            site.engine.finish(job, JobEnd(status=status))
        elif manual:
            actions.play(site.engine, manual[0], user=site.user)
        else:
            break
    assert pipeline.status in COMPLETED, {n: str(j.status) for n, j in pipeline.latest.items()}
    assert all(job.status in COMPLETED for job in pipeline.latest.values())
