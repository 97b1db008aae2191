"""The real gitlab-runner against the simulator; runs where its binary is named.

`RUNNER_FLEET_GITLAB_RUNNER=/path/to/gitlab-runner pytest -m real_runner`
"""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from gitlab.v4.objects import ProjectJob

from tests.integration.local.gitlab.receiver import Receiver, wait_until
from tests.integration.local.gitlab.site import Site
from tests.integration.local.runner_process import REAL, RunnerProcess, config_toml

pytestmark = [
    pytest.mark.real_runner,
    pytest.mark.skipif(not REAL, reason="RUNNER_FLEET_GITLAB_RUNNER names no gitlab-runner"),
]


def runner(site: Site, folder: Path, token: str = "") -> RunnerProcess:
    """A runner for one job, with a folder of its own."""
    folder.mkdir()
    config = config_toml(site.server.url, token=token or site.register("ec2"))
    return RunnerProcess(REAL, folder, config, "--max-builds", "1", "--wait-timeout", "2")


def job(site: Site, number: int) -> ProjectJob:
    return site.client.projects.get(1).jobs.get(number)


def log_of(site: Site, number: int) -> str:
    trace = job(site, number).trace()
    assert isinstance(trace, bytes)
    return trace.decode()


def test_a_failing_script(site: Site, tmp_path: Path, receiver: Receiver) -> None:
    seeded = site.seed("unit: {tags: [ec2], script: [exit 3]}\n")
    hooks = site.project(seeded).hooks
    hooks.create({"url": receiver.url, "job_events": True, "push_events": False})
    with runner(site, tmp_path / "a") as process:
        assert process.wait() == 0
    shown = job(site, 1)
    assert (shown.status, shown.failure_reason) == ("failed", "script_failure")
    assert site.server.ask(lambda world: world.ci.jobs[1].exit_code) == 3
    received = receiver.wait_for_count(2)
    assert [delivery.summary for delivery in received] == [(1, "running"), (1, "failed")]
    assert received[1].body["build_failure_reason"] == "script_failure"


def test_a_job_that_takes_too_long(site: Site, tmp_path: Path) -> None:
    site.seed("unit: {tags: [ec2], timeout: 3 seconds, script: [sleep 30]}\n")
    with runner(site, tmp_path / "a") as process:
        process.wait()
    shown = job(site, 1)
    assert (shown.status, shown.failure_reason) == ("failed", "job_execution_timeout")
    assert 3 <= shown.duration < 10


LOUD = "unit: {tags: [ec2], script: ['head -c %d /dev/zero | tr \"\\0\" x | fold -w 99']}\n"


@pytest.mark.parametrize(("size", "is_cut"), [(3_000_000, False), (5_300_000, True)])
def test_a_long_log(site: Site, tmp_path: Path, size: int, is_cut: bool) -> None:
    site.seed(LOUD % size)
    with runner(site, tmp_path / "a") as process:
        process.wait()
    text = log_of(site, 1)
    assert site.statuses() == {"unit": "success"}
    assert ("Job's log exceeded limit of" in text) is is_cut
    assert len(text) > min(size, 4 * 1024 * 1024)


TALKS = """
    unit:
      tags: [ec2]
      script: ['for n in $(seq 60); do echo line $n; sleep 1; done']
      after_script: [echo afterwards]
"""


@pytest.mark.parametrize("is_graceful", [False, True])
def test_a_cancel_reaches_a_running_script_and_a_graceful_one_runs_after_script(
    open_site: Callable[..., Site], tmp_path: Path, is_graceful: bool
) -> None:
    site = open_site(cancels_gracefully=is_graceful)
    site.seed(TALKS)
    with runner(site, tmp_path / "a") as process:
        wait_until(lambda: "line 1" in log_of(site, 1), deadline_s=20)
        job(site, 1).cancel()
        assert site.statuses() == {"unit": "canceling" if is_graceful else "canceled"}
        assert process.wait() == 0
    assert site.statuses() == {"unit": "canceled"}
    assert ("afterwards" in log_of(site, 1)) is is_graceful


def test_a_terminated_runner_reports_a_system_failure_and_gitlab_retries(
    site: Site, tmp_path: Path
) -> None:
    site.seed(
        """
        unit:
          tags: [ec2]
          retry: {max: 1, when: [runner_system_failure]}
          script: ['echo attempt', 'test "$CI_JOB_ID" = 2 || sleep 60']
        """
    )
    token = site.register("ec2")
    with runner(site, tmp_path / "a", token) as process:
        wait_until(lambda: "attempt" in log_of(site, 1), deadline_s=20)
        process.send(signal.SIGTERM)
        process.wait()
        assert process.line("Job failed (system failure)")
    assert job(site, 1).failure_reason in ("runner_system_failure", "runner_interrupted")
    with runner(site, tmp_path / "b", token) as process:
        process.wait()
    assert site.statuses() == {"unit": "success"}
    assert site.server.ask(lambda world: world.ci.jobs[2].retries_count) == 1
