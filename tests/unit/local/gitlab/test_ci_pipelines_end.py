"""Whatever CI file is taken: its pipeline ends, once the manual jobs are played."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings, strategies as st

from local.gitlab import actions
from local.gitlab.ci.file import CiError, read_pipeline
from local.gitlab.engine import JobEnd
from local.gitlab.states import COMPLETED, Status
from tests.unit.local.gitlab.small_gitlab import SmallGitLab

STAGES = ["build", "test", "deploy"]
NAMES = [*"abcde"]
links = st.lists(st.sampled_from(NAMES), max_size=3)


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    """One job, or trigger, that names others as it likes."""
    entry: dict[str, Any] = {"stage": draw(st.sampled_from([*STAGES, ".pre", ".post"]))}
    is_trigger = draw(st.integers(0, 5)) == 0
    entry.update({"trigger": "a/b"} if is_trigger else {"script": ["x"]})
    if draw(st.booleans()):
        needs = draw(links)
        entry["needs"] = [{"job": n, "optional": draw(st.booleans())} for n in needs]
    if not is_trigger and draw(st.integers(0, 3)) == 0:
        entry["dependencies"] = draw(links)
    if draw(st.integers(0, 4)) == 0:
        entry["rules"] = [{"if": draw(st.sampled_from(["$NOPE", "$CI_COMMIT_BRANCH"]))}]
        if draw(st.booleans()):
            entry["rules"][0]["needs"] = draw(links)
    elif draw(st.booleans()):
        entry["when"] = draw(st.sampled_from(["on_success", "on_failure", "always", "manual"]))
    if not is_trigger and draw(st.integers(0, 4)) == 0:
        entry["parallel"] = draw(st.integers(1, 2))
    return entry


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), entries(), min_size=1), st.lists(st.booleans()))
def test_every_file_that_is_taken_makes_a_pipeline_that_ends(
    jobs: dict[str, dict[str, Any]], successes: list[bool]
) -> None:
    text = json.dumps({"stages": STAGES, **jobs})
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
        taken = site.take()
        manual = [job for job in pipeline.latest.values() if job.status is Status.MANUAL]
        if taken is not None:
            status = Status.SUCCESS if next(outcomes, True) else Status.FAILED
            site.engine.finish(taken, JobEnd(status=status))
        elif manual:
            actions.play(site.engine, manual[0], user=site.user)
        else:
            break
    assert pipeline.status in COMPLETED, {n: str(j.status) for n, j in pipeline.latest.items()}
    assert all(job.status in COMPLETED for job in pipeline.latest.values())
