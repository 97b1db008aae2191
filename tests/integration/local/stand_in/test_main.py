"""The process as a whole, without a GitLab."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from local.stand_in.config import RunnerOptions
from local.stand_in.gitlab import JobServer, Result
from local.stand_in.job import Job
from local.stand_in.log import Log


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "local.stand_in", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={},
    )


@pytest.mark.parametrize("flag", ["--version", "-v"])
def test_the_version_is_that_of_gitlab_runner(flag: str) -> None:
    done = run(flag)
    assert done.returncode == 0
    assert done.stdout.startswith("Version:      17.9.0\n")


def test_a_mistake_ends_the_process_with_code_1_and_a_fatal_line() -> None:
    done = run("--log-format", "json", "run-single", "-c", "/nowhere", "-r", "x")
    assert done.returncode == 1
    line = json.loads(done.stderr)
    assert (line["level"], line["msg"][:20]) == ("fatal", "Error loading config")
    assert json.loads(run("run-single").stderr)["level"] == "fatal"


def test_start_up_is_cheap() -> None:
    code = "import sys, local.stand_in.single; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"boto3", "botocore", "httpx", "pydantic", "yaml", "requests", "asyncio"}
    assert heavy.isdisjoint(done.stdout.split())


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "https://127.0.0.1:1"])
def test_the_runner_may_ask_an_unreachable_gitlab_again(url: str) -> None:
    runner = RunnerOptions(url=url, token="glrt-x", tls_ca_file="/nowhere.pem")
    gitlab = JobServer(runner, system_id="s_1", log=Log(to_fd=None))
    assert gitlab.request_job() == (None, True)
    result, reply = gitlab.patch_trace(Job(), b"x", 0)
    assert (result, reply.status, reply.interval_s) == (Result.FAILED, -1, 0)
    assert "couldn't execute PATCH" in reply.text
