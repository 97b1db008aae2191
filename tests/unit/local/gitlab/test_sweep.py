"""What time alone does to jobs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from local.gitlab import actions
from local.gitlab.model import HandedReport, Runner, RunnerManager
from local.gitlab.options import Options, Timeouts
from local.gitlab.runners import RunnerRequest, Runners
from local.gitlab.sweep import has_online_runner, reason_to_drop, sweep
from tests.unit.local.gitlab.small_gitlab import NOON, SmallGitLab, job_spec

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


class Swept(SmallGitLab):
    """A small GitLab with registered runners, whose time can pass."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        self.runners = Runners(self.engine.options)

    def register(self, *tags: str, online: bool = True) -> Runner:
        """A runner of the instance, just heard from or never."""
        wanted = RunnerRequest(runner_type="instance_type", creator=self.user, tags=frozenset(tags))
        found = self.runners.add(wanted, at=self.clock.now())
        if online:
            self.hear(found)
        return found

    def hear(self, found: Runner) -> None:
        """The runner calls."""
        self.runners.hear(found, system_id="s_1", info={}, at=self.clock.now())

    def after(self, waited: timedelta) -> None:
        """Let so much time pass, then sweep."""
        self.clock.advance(waited)
        sweep(self.engine, self.runners)


def test_a_pending_job_without_any_runner_fails_after_an_hour() -> None:
    site = Swept()
    job = site.start(job_spec("unit", tags=("ec2",))).latest["unit"]
    site.after(HOUR)
    assert job.status == "pending"
    site.after(SECOND)
    assert (job.status, job.failure_reason) == ("failed", "stuck_pending_no_matching_runners")
    assert job.runner is None
    assert site.ear.heard_of("unit")[-1] == "failed"
    assert site.take() is None


@pytest.mark.parametrize(
    ("tags", "online", "survives"),
    [
        pytest.param(("ec2",), True, True, id="a matching online runner keeps it waiting"),
        pytest.param(("ec2",), False, False, id="a runner never heard from does not"),
        pytest.param(("lambda",), True, False, id="nor does one with other tags"),
    ],
)
def test_only_a_matching_online_runner_keeps_a_job_waiting(
    tags: tuple[str, ...], online: bool, survives: bool
) -> None:
    site = Swept()
    site.register(*tags, online=online)
    job = site.start(job_spec("unit", tags=("ec2",))).latest["unit"]
    site.after(HOUR + SECOND)
    assert (job.status == "pending") is survives


@pytest.mark.parametrize(
    ("waited", "branch", "later", "is_there"),
    [
        pytest.param(HOUR, "main", None, True, id="the last of its branch stays"),
        pytest.param(HOUR, "main", ("main", "running"), True, id="also while the next runs"),
        pytest.param(HOUR, "main", ("main", "success"), False, id="a later one has ended"),
        pytest.param(HOUR, "main", ("main", "failed"), False, id="however it ended"),
        pytest.param(HOUR, "main", ("topic", "success"), True, id="of another branch"),
        pytest.param(HOUR, "gone", None, False, id="the branch is gone"),
        pytest.param(HOUR - SECOND, "main", ("main", "success"), True, id="not yet"),
    ],
)
def test_expired_artifacts_are_gone(
    waited: timedelta, branch: str, later: tuple[str, str] | None, is_there: bool, tmp_path: Path
) -> None:
    site = Swept()
    site.project.refs = dict.fromkeys(("refs/heads/main", "refs/heads/topic"), "sha")
    pipeline = site.start(job_spec("unit"), ref=branch)
    job = site.end(pipeline, "unit")
    job.artifacts = tmp_path / "1.zip"
    job.reports["junit"] = HandedReport(path=tmp_path / "1-junit", name="junit.xml", form="gzip")
    for path in (job.artifacts, job.reports["junit"].path):
        path.write_bytes(b"kept")
    site.engine.keep_artifacts(job, until=site.clock.now() + HOUR)
    if later:
        ref, status = later
        other = site.start(job_spec("unit"), ref=ref)
        site.run(other, "unit") if status == "running" else site.end(other, "unit", status)
    for _ in range(2):
        site.after(waited)
        waited = timedelta()
    assert [job.artifacts is not None, bool(job.reports)] == [is_there, is_there]
    assert bool([*tmp_path.iterdir()]) is is_there
    assert job.artifacts_expire_at == NOON + HOUR


def test_a_runner_silent_for_two_hours_is_offline() -> None:
    site = Swept()
    found = site.register("ec2")
    site.clock.advance(2 * HOUR)
    job = site.start(job_spec("unit", tags=("ec2",))).latest["unit"]
    assert has_online_runner(job, site.runners, site.clock.now())
    site.clock.advance(SECOND)
    assert not has_online_runner(job, site.runners, site.clock.now())
    site.hear(found)
    assert has_online_runner(job, site.runners, site.clock.now())


def test_a_paused_runner_keeps_nobody_waiting() -> None:
    site = Swept()
    site.register("ec2").paused = True
    job = site.start(job_spec("unit", tags=("ec2",))).latest["unit"]
    assert not has_online_runner(job, site.runners, site.clock.now())


def test_a_pending_job_fails_after_a_day_even_with_a_runner() -> None:
    site = Swept()
    found = site.register("ec2")
    job = site.start(job_spec("unit", tags=("ec2",))).latest["unit"]
    for _ in range(24):
        site.clock.advance(HOUR)
        site.hear(found)
    site.after(timedelta())
    assert job.status == "pending"
    site.after(SECOND)
    assert (job.status, job.failure_reason) == ("failed", "stuck_pending_with_matching_runners")


def test_only_late_jobs_of_a_kind_are_dropped() -> None:
    site = Swept()
    early = site.start(job_spec("unit")).latest["unit"]
    site.clock.advance(timedelta(minutes=50))
    late = site.start(job_spec("unit")).latest["unit"]
    site.after(timedelta(minutes=11))
    assert (early.status, late.status) == ("failed", "pending")


def test_a_stuck_job_is_retried_when_it_asks_for_it() -> None:
    site = Swept()
    pipeline = site.start(job_spec("unit", retry=1))
    site.after(HOUR + SECOND)
    assert site.statuses(pipeline) == {"unit": "pending"}
    assert pipeline.latest["unit"].retries_count == 1


def test_a_delayed_job_starts_when_its_time_has_come() -> None:
    site = Swept()
    pipeline = site.start(job_spec("later", when="delayed", start_in_s=30))
    site.after(timedelta(seconds=29))
    assert site.statuses(pipeline) == {"later": "scheduled"}
    site.after(SECOND)
    assert site.statuses(pipeline) == {"later": "pending"}
    assert pipeline.status == "pending"


def test_a_silent_running_job_is_given_up_after_an_hour() -> None:
    site = Swept()
    pipeline = site.start(job_spec("unit", timeout_s=7200))
    job = site.run(pipeline, "unit")
    site.clock.advance(timedelta(minutes=30))
    job.heard_at = site.clock.now()
    site.after(HOUR)
    assert job.status == "running"
    site.after(SECOND)
    assert (job.status, job.failure_reason) == ("failed", "no_updates_running")


def test_a_job_far_beyond_its_timeout_is_ended_by_the_server() -> None:
    site = Swept()
    job = site.run(site.start(job_spec("unit", timeout_s=600)), "unit")
    site.after(timedelta(minutes=25))
    assert job.status == "running"
    job.heard_at = site.clock.now()
    site.after(SECOND)
    assert (job.status, job.failure_reason) == ("failed", "job_execution_server_timeout")


def test_a_canceling_job_nobody_reports_on_is_canceled_in_the_end() -> None:
    site = Swept(Options(cancels_gracefully=True))
    site.runner.managers["s_1"] = RunnerManager(
        id=1, system_id="s_1", created_at=NOON, cancels_gracefully=True
    )
    job = site.run(site.start(job_spec("unit", timeout_s=7200)), "unit")
    actions.cancel(site.engine, job)
    assert reason_to_drop(job, NOON + 2 * HOUR, Timeouts()) == "no_updates_canceling"
    site.after(HOUR + SECOND)
    assert job.status == "canceled"


def test_a_pending_job_is_none_of_its_business() -> None:
    site = Swept()
    job = site.start(job_spec("unit")).latest["unit"]
    assert reason_to_drop(job, NOON + 100 * HOUR, Timeouts()) is None


def test_compressed_timeouts_make_an_hour_a_second() -> None:
    site = Swept(Options(timeouts=Timeouts().compressed(3600)))
    job = site.start(job_spec("unit")).latest["unit"]
    site.after(timedelta(seconds=1.1))
    assert job.failure_reason == "stuck_pending_no_matching_runners"
