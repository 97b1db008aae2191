"""The process as a whole, without a GitLab."""

from __future__ import annotations

import subprocess
import sys

import pytest

from local.stand_in.config import RunnerOptions
from local.stand_in.gitlab import JobServer, Result
from local.stand_in.job import Job
from local.stand_in.log import Log


@pytest.mark.parametrize("flag", ["--version", "-v"])
def test_the_version_is_that_of_gitlab_runner(flag: str) -> None:
    command = [sys.executable, "-m", "local.stand_in", flag]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={})
    assert done.stdout.startswith("Version:      17.9.0\n")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "https://127.0.0.1:1"])
def test_the_runner_may_ask_an_unreachable_gitlab_again(url: str) -> None:
    runner = RunnerOptions(url=url, token="glrt-x", tls_ca_file="/nowhere.pem")
    gitlab = JobServer(runner, system_id="s_1", log=Log(to_fd=None))
    assert gitlab.request_job() == (None, True)
    result, reply = gitlab.patch_trace(Job(), b"x", 0)
    assert (result, reply.status, reply.interval_s) == (Result.FAILED, -1, 0)
    assert "couldn't execute PATCH" in reply.text
