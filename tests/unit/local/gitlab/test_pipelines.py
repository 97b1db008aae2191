"""What jobs and pipelines do after each step: ends, retries, cancels, plays; and the hooks sent."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from local.gitlab import actions
from local.gitlab.ci.types import JobSpec, NeedSpec, RetrySpec
from local.gitlab.engine import JobEnd
from local.gitlab.failures import FROM_RUNNER, is_caught
from local.gitlab.model import Pipeline
from local.gitlab.options import Options
from local.gitlab.states import ImpossibleTransition, Status
from tests.unit.local.gitlab.small_gitlab import (
    SmallGitLab,
    commit,
    job_spec as job,
    user,
)

STAGES = ("build", "test", "deploy", "after")
NEWER = replace(commit(), sha="5" * 40)
GRACEFUL = Options(cancels_gracefully=True)
SYSTEM = RetrySpec(max=2, when=("runner_system_failure", "stuck_or_timeout_failure"))

UNIT, SHIP = job("unit"), job("ship", "deploy")
ENDS = {"end": Status.SUCCESS, "fail": Status.FAILED}


def do(site: SmallGitLab, pipeline: Pipeline, steps: str) -> None:
    """Do the steps in order, as in `end build, fail unit, retry all`."""
    for step in filter(None, steps.split(", ")):
        verb, name = step.split(" ")
        if name == "all":
            whole = {"cancel": actions.cancel_pipeline, "retry": retry_all}[verb]
            whole(site.engine, pipeline)
        elif verb in ENDS:
            site.end(pipeline, name, ENDS[verb])
        elif verb == "take":
            site.run(pipeline, name)
        elif verb in ("cancel", "force"):
            actions.cancel(site.engine, pipeline.latest[name], force=verb == "force")
        else:
            act = {"retry": actions.retry, "play": actions.play}[verb]
            act(site.engine, pipeline.latest[name], user=user(9))


def retry_all(engine: Any, pipeline: Pipeline) -> None:
    actions.retry_pipeline(engine, pipeline, user=user(9))


def shown(pipeline: Pipeline) -> str:
    """`success pending | running`: the newest job of each name, then the pipeline."""
    return " ".join([*(item.status for item in pipeline.latest.values()), "|", pipeline.status])


TABLE = Path(__file__).with_name("steps.txt").read_text().splitlines()


def planned(text: str) -> JobSpec:
    """The job of `name@stage` and its settings, as in `b@deploy manual allowed needs=a+c?`."""
    rest: dict[str, Any] = {}
    first, *settings = text.split()
    for setting in settings:
        key, _, value = setting.partition("=")
        if key == "needs":
            names = filter(None, value.split("+"))
            needs = [NeedSpec(job=n.rstrip("?"), optional=n.endswith("?")) for n in names]
            rest["needs"] = needs
        elif key == "retry":
            rest["retry"] = int(value)
        elif key == "in":
            rest["resource_group"] = value
        elif key == "allowed":
            rest["allow_failure"] = True
        else:
            rest |= {"when": key, "start_in_s": 90 if key == "delayed" else None}
    name, _, stage = first.partition("@")
    return job(name, stage or "test", **rest)


@pytest.mark.parametrize("case", [line for line in TABLE if line and not line.startswith("#")])
def test_after_these_steps_the_states_are(case: str) -> None:
    """A line of `steps.txt`: jobs, what happens to them, and their states after it."""
    before, expected = case.split(" -> ")
    jobs, _, steps = before.partition(":")
    site = SmallGitLab()
    pipeline = site.start(*map(planned, jobs.split(",")), stages=STAGES)
    do(site, pipeline, steps.strip())
    assert shown(pipeline) == expected


# --- facts of a job


@pytest.mark.parametrize(
    ("exit_code", "status"), [(3, Status.SUCCESS), (4, Status.FAILED), (None, Status.FAILED)]
)
def test_a_failure_is_allowed_by_its_exit_code(exit_code: int | None, status: Status) -> None:
    site = SmallGitLab()
    pipeline = site.start(job("unit", allow_failure_exit_codes=(3,)))
    ended = site.end(pipeline, "unit", "failed", exit_code=exit_code)
    assert (pipeline.status, ended.exit_code) == (status, exit_code)
    assert ended.allow_failure is (exit_code == 3)


def test_an_ended_job_cannot_end_again() -> None:
    site = SmallGitLab()
    ended = site.end(site.start(UNIT), "unit", "failed")
    with pytest.raises(ImpossibleTransition, match=r"job 1 cannot go from failed to success"):
        site.engine.finish(ended, JobEnd(status=Status.SUCCESS))


# --- retry


def test_a_retry_is_a_new_job_of_the_user_who_asked() -> None:
    site = SmallGitLab()
    pipeline = site.start(job("unit", retry=SYSTEM))
    first = site.end(pipeline, "unit", "failed", failure_reason="runner_system_failure")
    second = pipeline.latest["unit"]
    assert (first.is_retried, first.status) == (True, Status.FAILED)
    assert (second.id, second.retries_count, second.user) == (2, 1, site.user)
    assert second.token != first.token
    do(site, pipeline, "fail unit, retry unit")
    third = pipeline.latest["unit"]
    assert (third.id, third.retries_count, third.user.id) == (3, 2, 9)


BY_TIME = (
    *("stuck_pending_no_matching_runners", "stuck_pending_with_matching_runners"),
    *("no_updates_running", "no_updates_canceling", "job_execution_server_timeout"),
    *("server_timeout_running", "server_timeout_canceling", "no_matching_runner"),
    "stuck_or_timeout_failure",
)


@pytest.mark.parametrize(
    ("reason", "wanted", "caught"),
    [
        ("script_failure", "always", True),
        ("script_failure", "script_failure", True),
        ("script_failure", "runner_system_failure", False),
        ("runner_system_failure", "script_failure runner_system_failure", True),
        ("unknown_failure", "", False),
        *((reason, "stuck_or_timeout_failure", True) for reason in BY_TIME),
        *((reason, "runner_system_failure", False) for reason in BY_TIME),
        *(
            (reason, "stuck_or_timeout_failure", False)
            for reason in ("script_failure", "runner_system_failure", "job_execution_timeout")
        ),
    ],
)
def test_retry_catches_the_reasons_that_it_names(reason: str, wanted: str, caught: bool) -> None:
    assert is_caught(reason, wanted.split()) is caught


def test_runners_are_offered_each_reason_once() -> None:
    assert "runner_interrupted" in FROM_RUNNER
    assert len(set(FROM_RUNNER)) == len(FROM_RUNNER)


# --- cancel


@pytest.mark.parametrize(
    ("options", "is_capable", "steps", "expected"),
    [
        pytest.param(Options(), True, "cancel unit", "canceled skipped", id="an older GitLab"),
        pytest.param(GRACEFUL, False, "cancel unit", "canceled skipped", id="an older runner"),
        pytest.param(GRACEFUL, True, "cancel unit", "canceling created", id="until it reports"),
        pytest.param(GRACEFUL, True, "cancel unit, fail unit", "canceled skipped", id="reported"),
        pytest.param(GRACEFUL, True, "cancel unit, cancel unit", "canceling created", id="twice"),
        pytest.param(GRACEFUL, True, "cancel unit, force unit", "canceled skipped", id="by force"),
        pytest.param(GRACEFUL, True, "cancel all", "canceling canceled", id="the pipeline"),
    ],
)
def test_a_running_job_is_canceled_gracefully_where_gitlab_and_its_runner_can(
    options: Options, is_capable: bool, steps: str, expected: str
) -> None:
    site = SmallGitLab(options)
    if is_capable:
        site.capable()
    pipeline = site.start(UNIT, SHIP)
    do(site, pipeline, f"take unit, {steps}")
    unit = pipeline.latest["unit"]
    assert [str(item.status) for item in pipeline.latest.values()] == expected.split()
    assert pipeline.status == unit.status
    assert unit.failure_reason is None
    assert (unit.finished_at is None) is (unit.status is Status.CANCELING)
    states = ["created", "pending", "running", "canceled"]
    assert site.ear.heard_of("unit") == states[: 4 if unit.finished_at else 3]


@pytest.mark.parametrize(
    ("of_newest", "setting"),
    [
        pytest.param({"ref": "feature", "commit": NEWER}, True, id="another branch"),
        pytest.param({}, True, id="the same commit"),
        pytest.param({"commit": NEWER}, False, id="switched off"),
    ],
)
def test_what_is_not_redundant_stays(of_newest: dict[str, Any], setting: bool) -> None:
    site = SmallGitLab()
    site.project.cancels_redundant = setting
    older = site.start(UNIT)
    actions.cancel_redundant(site.engine, site.start(UNIT, **of_newest))
    assert older.status is Status.PENDING


@pytest.mark.parametrize(
    ("word", "statuses"),
    [
        ("conservative", "running pending pending created | running"),
        ("interruptible", "running canceled pending canceled | running"),
        ("none", "running pending pending created | running"),
    ],
)
def test_auto_cancel_on_new_commit_decides_where_a_job_began_for_good(
    word: str, statuses: str
) -> None:
    site = SmallGitLab()
    older = site.start(
        job("kept"),
        job("yields", interruptible=True),
        job("waits"),
        job("later", "deploy", interruptible=True),
    )
    older.cancels_on_new_commit = word
    do(site, older, "take kept")
    actions.cancel_redundant(site.engine, site.start(UNIT, commit=NEWER))
    assert shown(older) == statuses


@pytest.mark.parametrize(
    ("word", "rest", "other"),
    [
        ("all", {}, "canceled"),
        ("none", {}, "pending"),
        ("all", {"allow_failure": True}, "pending"),
        ("all", {"retry": 1}, "pending"),
    ],
)
def test_auto_cancel_on_job_failure_cancels_the_rest_after_a_final_failure(
    word: str, rest: dict[str, Any], other: str
) -> None:
    site = SmallGitLab()
    pipeline = site.start(job("unit", **rest), job("other"))
    pipeline.cancels_on_job_failure = word
    actions.cancel_after_failure(site.engine, site.end(pipeline, "unit", "failed"))
    assert pipeline.latest["other"].status == other
