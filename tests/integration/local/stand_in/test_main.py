"""The process as a whole, without a GitLab."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "local.stand_in", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={},
    )


@pytest.mark.parametrize("flag", ["--version", "-v"])
def test_it_says_which_version_it_stands_for(flag: str) -> None:
    done = run(flag)
    assert done.returncode == 0
    assert done.stdout.startswith("Version:      17.9.0\n")


def test_a_mistake_ends_it_with_one_and_a_line_in_the_shape_asked_for() -> None:
    done = run("--log-format", "json", "run-single", "-c", "/nowhere", "-r", "x")
    assert done.returncode == 1
    assert '"level":"fatal","msg":"Error loading config: ' in done.stderr
    assert run("run-single").stderr.startswith("FATAL: ")


def test_start_up_is_cheap() -> None:
    code = "import sys, local.stand_in.single; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"boto3", "botocore", "httpx", "pydantic", "yaml", "requests", "asyncio"}
    assert heavy.isdisjoint(done.stdout.split())
