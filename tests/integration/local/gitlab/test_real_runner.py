"""The real gitlab-runner against the simulator; runs where its binary is named.

`RUNNER_FLEET_GITLAB_RUNNER=/path/to/gitlab-runner pytest -m real_runner`
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from gitlab.v4.objects import ProjectJob

from tests.integration.local.gitlab.receiver import Receiver, wait_until
from tests.integration.local.gitlab.site import Site

BINARY = os.environ.get("RUNNER_FLEET_GITLAB_RUNNER", "")
OpenSite = Callable[..., Site]
pytestmark = [
    pytest.mark.real_runner,
    pytest.mark.skipif(not BINARY, reason="RUNNER_FLEET_GITLAB_RUNNER names no gitlab-runner"),
]


@dataclass(frozen=True)
class Ended:
    """How a runner process ended, and what it logged."""

    code: int
    log: list[dict[str, Any]]

    def says(self, start: str) -> bool:
        """Whether a line of the log begins so."""
        return any(line.get("msg", "").startswith(start) for line in self.log)


class Bench:
    """A folder in which gitlab-runner processes work."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[str]] = []

    def start(self, url: str, token: str, *more: str) -> subprocess.Popen[str]:
        """A `run-single` for one job."""
        where = ("--builds-dir", f"{self._folder}/builds", "--cache-dir", f"{self._folder}/cache")
        limits = ("--max-builds", "1", "--wait-timeout", "2")
        command = [BINARY, "--log-format", "json", "run-single", "--url", url, "--token", token]
        process = subprocess.Popen(
            [*command, "--executor", "shell", *where, *(more or limits)],
            cwd=self._folder,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env={"PATH": os.environ["PATH"], "HOME": str(self._folder)},
        )
        self._started.append(process)
        return process

    def run(self, url: str, token: str, *more: str) -> Ended:
        """Start one and wait for its end."""
        return ended(self.start(url, token, *more))

    def close(self) -> None:
        """Leave nothing behind, whatever went wrong."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()


def ended(process: subprocess.Popen[str]) -> Ended:
    """Wait for the process."""
    _, text = process.communicate(timeout=60)
    lines = [line for line in text.splitlines() if line.startswith("{")]
    return Ended(process.returncode, [json.loads(line) for line in lines])


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A folder for runners, emptied of processes afterwards."""
    folder = tmp_path / "bench"
    folder.mkdir()
    made = Bench(folder)
    yield made
    made.close()


def job(site: Site, number: int) -> ProjectJob:
    return site.client.projects.get(1).jobs.get(number)


def log_of(site: Site, number: int) -> str:
    trace = job(site, number).trace()
    assert isinstance(trace, bytes)
    return trace.decode()


def test_a_failing_script(site: Site, bench: Bench, receiver: Receiver) -> None:
    seeded = site.seed("unit: {tags: [ec2], script: [exit 3]}\n")
    hooks = site.project(seeded).hooks
    hooks.create({"url": receiver.url, "job_events": True, "push_events": False})
    done = bench.run(site.server.url, site.register("ec2"))
    assert done.code == 0
    shown = job(site, 1)
    assert (shown.status, shown.failure_reason) == ("failed", "script_failure")
    assert site.server.ask(lambda world: world.ci.jobs[1].exit_code) == 3
    received = receiver.wait_for_count(2)
    assert [delivery.summary for delivery in received] == [(1, "running"), (1, "failed")]
    assert received[1].body["build_failure_reason"] == "script_failure"


def test_a_job_that_takes_too_long(site: Site, bench: Bench) -> None:
    site.seed("unit: {tags: [ec2], timeout: 3 seconds, script: [sleep 30]}\n")
    bench.run(site.server.url, site.register("ec2"))
    shown = job(site, 1)
    assert (shown.status, shown.failure_reason) == ("failed", "job_execution_timeout")
    assert 3 <= shown.duration < 10


LOUD = "unit: {tags: [ec2], script: ['head -c %d /dev/zero | tr \"\\0\" x | fold -w 99']}\n"


@pytest.mark.parametrize(
    ("size", "is_cut"), [pytest.param(3_000_000, False), pytest.param(5_300_000, True)]
)
def test_a_long_log(site: Site, bench: Bench, size: int, is_cut: bool) -> None:
    site.seed(LOUD % size)
    bench.run(site.server.url, site.register("ec2"))
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
    open_site: OpenSite, bench: Bench, is_graceful: bool
) -> None:
    site = open_site(cancels_gracefully=is_graceful)
    site.seed(TALKS)
    process = bench.start(site.server.url, site.register("ec2"))
    wait_until(lambda: "line 1" in log_of(site, 1), deadline_s=20)
    job(site, 1).cancel()
    assert site.statuses() == {"unit": "canceling" if is_graceful else "canceled"}
    done = ended(process)
    assert site.statuses() == {"unit": "canceled"}
    assert ("afterwards" in log_of(site, 1)) is is_graceful
    assert done.code == 0


def test_a_terminated_runner_reports_a_system_failure_and_gitlab_retries(
    site: Site, bench: Bench
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
    process = bench.start(site.server.url, token)
    wait_until(lambda: "attempt" in log_of(site, 1), deadline_s=20)
    process.terminate()
    assert ended(process).says("Job failed (system failure)")
    assert job(site, 1).failure_reason in ("runner_system_failure", "runner_interrupted")
    bench.run(site.server.url, token)
    assert site.statuses() == {"unit": "success"}
    assert site.server.ask(lambda world: world.ci.jobs[2].retries_count) == 1
