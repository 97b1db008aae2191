"""What time alone does to jobs: delayed ones start, stuck ones fail, artifacts expire."""

from datetime import timedelta
from pathlib import Path

import pytest

from local.gitlab import actions
from local.gitlab.model import Runner, UploadedReport
from local.gitlab.options import Options, Timeouts
from local.gitlab.runners import Runners
from local.gitlab.sweep import has_online_runner, reason_to_drop, sweep
from tests.unit.local.gitlab.small_gitlab import NOON, SmallGitLab, job_spec

HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
NO_RUNNER = ("failed", "stuck_pending_no_matching_runners")


class Swept(SmallGitLab):
    """A small GitLab with registered runners, whose time can pass."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        self.runners = Runners(self.engine.options)

    def register(self, *tags: str, online: bool = True) -> Runner:
        """A runner of the instance; it has just called when it is online."""
        runner = Runner(
            runner_type="instance_type",
            created_at=self.clock.now(),
            creator=self.user,
            tags=frozenset(tags),
        )
        self.runners.add(runner)
        if online:
            self.hear(runner)
        return runner

    def hear(self, runner: Runner) -> None:
        """The runner calls."""
        self.runners.hear(runner, system_id="s_1", info={}, at=self.clock.now())

    def after(self, waited: timedelta) -> None:
        """Let so much time pass, then sweep."""
        self.clock.advance(waited)
        sweep(self.engine, self.runners)


@pytest.mark.parametrize(
    ("tags", "online", "is_dropped"),
    [
        (None, False, True),
        (("ec2",), True, False),
        (("ec2",), False, True),  # it never called
        (("lambda",), True, True),
    ],
)
def test_a_pending_job_without_a_matching_online_runner_fails_after_an_hour(
    tags: tuple[str, ...] | None, online: bool, is_dropped: bool
) -> None:
    site = Swept()
    if tags is not None:
        site.register(*tags, online=online)
    job = site.start(job_spec("unit", tags=("ec2",))).latest["unit"]
    site.after(HOUR)
    assert job.status == "pending"
    site.after(SECOND)
    expected = NO_RUNNER if is_dropped else ("pending", None)
    assert ((job.status, job.failure_reason), job.runner) == (expected, None)
    assert site.ear.heard_of("unit")[-1] == job.status
    assert (site.take() is None) is is_dropped


def test_a_runner_is_online_for_two_hours_after_its_call_unless_it_is_paused() -> None:
    site = Swept()
    runner = site.register("ec2")
    job = site.start(job_spec("unit", tags=("ec2",))).latest["unit"]

    def is_online() -> bool:
        return has_online_runner(job, site.runners, site.clock.now())

    site.clock.advance(2 * HOUR)
    assert is_online()
    site.clock.advance(SECOND)
    assert not is_online()
    site.hear(runner)
    assert is_online()
    runner.paused = True
    assert not is_online()


def test_a_pending_job_fails_after_a_day_even_with_a_runner() -> None:
    site = Swept()
    runner = site.register("ec2")
    job = site.start(job_spec("unit", tags=("ec2",))).latest["unit"]
    for _ in range(24):
        site.clock.advance(HOUR)
        site.hear(runner)
    site.after(timedelta())
    assert job.status == "pending"
    site.after(SECOND)
    assert (job.status, job.failure_reason) == ("failed", "stuck_pending_with_matching_runners")


def test_only_late_jobs_of_a_kind_are_dropped_and_a_retry_waits_anew() -> None:
    site = Swept()
    early = site.start(job_spec("unit", retry=1))
    site.clock.advance(50 * MINUTE)
    late = site.start(job_spec("unit"))
    site.after(11 * MINUTE)
    assert site.statuses(late) == {"unit": "pending"}
    assert [str(job.status) for job in early.jobs.values()] == ["failed", "pending"]
    assert early.latest["unit"].retries_count == 1


def test_a_delayed_job_starts_at_its_time() -> None:
    site = Swept()
    pipeline = site.start(job_spec("later", when="delayed", start_in_s=30))
    for waited, status in ((29, "scheduled"), (1, "pending")):
        site.after(waited * SECOND)
        assert (pipeline.latest["later"].status, pipeline.status) == (status, status)


@pytest.mark.parametrize(
    ("timeout_s", "silent", "heard_at", "reason"),
    [
        (7200, HOUR, 30 * MINUTE, "no_updates_running"),  # an hour of silence
        (600, timedelta(), 25 * MINUTE, "job_execution_server_timeout"),  # 15 min over time
    ],
)
def test_a_running_job_is_dropped_for_silence_or_long_after_its_timeout(
    timeout_s: int, silent: timedelta, heard_at: timedelta, reason: str
) -> None:
    site = Swept()
    job = site.run(site.start(job_spec("unit", timeout_s=timeout_s)), "unit")
    site.clock.advance(heard_at)
    job.heard_at = site.clock.now()
    site.after(silent)
    assert job.status == "running"
    site.after(SECOND)
    assert (job.status, job.failure_reason) == ("failed", reason)


def test_a_canceling_job_without_reports_is_canceled_after_an_hour() -> None:
    site = Swept(Options(cancels_gracefully=True))
    job = site.start(job_spec("unit", timeout_s=7200)).latest["unit"]
    assert reason_to_drop(job, NOON + 100 * HOUR, Timeouts()) is None  # it is pending
    site.take(site.capable())
    actions.cancel(site.engine, job)
    assert reason_to_drop(job, NOON + 2 * HOUR, Timeouts()) == "no_updates_canceling"
    site.after(HOUR + SECOND)
    assert job.status == "canceled"


@pytest.mark.parametrize(
    ("waited", "branch", "later", "is_there"),
    [
        (HOUR, "main", None, True),  # the last of its branch stays
        (HOUR, "main", ("main", "running"), True),
        (HOUR, "main", ("main", "success"), False),
        (HOUR, "main", ("main", "failed"), False),
        (HOUR, "main", ("topic", "success"), True),
        (HOUR, "gone", None, False),
        (HOUR - SECOND, "main", ("main", "success"), True),
    ],
)
def test_expired_artifacts_are_deleted(
    waited: timedelta, branch: str, later: tuple[str, str] | None, is_there: bool, tmp_path: Path
) -> None:
    site = Swept()
    site.project.refs = dict.fromkeys(("refs/heads/main", "refs/heads/topic"), "sha")
    job = site.end(site.start(job_spec("unit"), ref=branch), "unit")
    job.artifacts = tmp_path / "1.zip"
    job.reports["junit"] = UploadedReport(path=tmp_path / "1-junit", name="junit.xml", form="gzip")
    for path in (job.artifacts, job.reports["junit"].path):
        path.write_bytes(b"kept")
    site.engine.keep_artifacts(job, until=site.clock.now() + HOUR)
    if later:
        ref, status = later
        other = site.start(job_spec("unit"), ref=ref)
        site.run(other, "unit") if status == "running" else site.end(other, "unit", status)
    for pause in (waited, timedelta()):  # twice
        site.after(pause)
    assert [job.artifacts is not None, bool(job.reports)] == [is_there, is_there]
    assert bool([*tmp_path.iterdir()]) is is_there
    assert job.artifacts_expire_at == NOON + HOUR
