"""The real image under AWS's runtime emulator: what jobs do there, and what it costs."""

import json
import os
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import docker
import pytest

from fleet.rules.image import Containers
from fleet.steps import StepName
from tests.e2e.images import Images
from tests.e2e.lambda_site import LambdaSite, containers_left, lambda_site

AT_ONCE = 20
WARM = 5
ADDS_AT_MOST_MS = 300.0
PACKAGE = {
    "name": "shop",
    "version": "1.0.0",
    "private": True,
    "scripts": {"test": "node --test"},
    "dependencies": {"is-odd": "3.0.1"},
}
NODE_TEST = """\
const test = require("node:test");
const assert = require("node:assert");
const odd = require("is-odd");
test("three is odd", () => assert.ok(odd(3)));
"""
PROJECT = """\
[project]
name = "shop"
version = "1.0.0"
requires-python = ">=3.11"
dependencies = ["iniconfig==2.0.0"]

[dependency-groups]
dev = ["pytest==8.3.3"]

[tool.uv]
package = false
"""
PYTHON_TEST = "import iniconfig\n\n\ndef test_it_is_there():\n    assert iniconfig.IniConfig\n"


@pytest.fixture(scope="module")
def site(images: Images) -> Iterator[LambdaSite]:
    with lambda_site(images.emulated) as up:
        yield up


def registries() -> dict[str, str]:
    """How this machine reaches its package registries, as variables of a job."""
    commands = {
        "npm_config_registry": ["npm", "config", "get", "registry"],
        "PIP_INDEX_URL": [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
    }
    variables = {
        name: subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        for name, command in commands.items()
    }
    variables["UV_DEFAULT_INDEX"] = variables["PIP_INDEX_URL"]
    variables |= {
        name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")
    }
    return {name: value for name, value in variables.items() if value}


def authorities() -> dict[str, str]:
    """The authorities that this machine trusts, as a file of the project."""
    path = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile or ""
    return {"ca.crt": Path(path).read_text()} if Path(path).is_file() else {}


def job(*script: str, **more: Any) -> dict[str, Any]:
    return {"tags": ["lambda"], "script": list(script), **more}


def test_packages_from_the_registries(site: LambdaSite) -> None:
    files = authorities()
    trust = dict.fromkeys(
        ("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "PIP_CERT"), "$CI_PROJECT_DIR/ca.crt"
    )
    pipeline = {
        "variables": registries() | (trust if files else {}),
        "node": job(
            "node --version",
            "npm install --package-lock-only --no-fund --no-audit",
            "npm ci --no-fund --no-audit",
            "npm test",
            image="node:22-alpine",
        ),
        "python": job("python3 --version", "uv run pytest -q", image="python:3.12-slim"),
    }
    files |= {
        "package.json": json.dumps(PACKAGE),
        "shop.test.js": NODE_TEST,
        "pyproject.toml": PROJECT,
        "test_shop.py": PYTHON_TEST,
    }
    jobs = site.run(json.dumps(pipeline), files)
    logs = {name: ended.log for name, ended in jobs.items()}
    assert {name: ended.status for name, ended in jobs.items()} == {
        "node": "success",
        "python": "success",
    }, logs
    assert "\nv22." in logs["node"]
    assert "pass 1" in logs["node"]
    assert "\nPython 3.12." in logs["python"]
    assert "1 passed" in logs["python"]
    assert "runner-fleet: image: 'node:22-alpine' is not used" in logs["node"]


def test_many_at_once_and_nothing_is_left(site: LambdaSite) -> None:
    names = [f"job-{number}" for number in range(AT_ONCE)]
    mark = "echo $CI_JOB_NAME; test ! -e /tmp/mark; touch /tmp/mark; sleep 5"
    began = time.monotonic()
    jobs = site.run(json.dumps({name: job(mark) for name in names}))
    assert {ended.name: ended.status for ended in jobs.values()} == dict.fromkeys(names, "success")
    print(f"{AT_ONCE} jobs of 5 s at once: {time.monotonic() - began:.1f} s")
    remains = site.laptop.remains()
    assert (remains.runners, remains.messages, remains.processes) == (0, 0, 0)
    site.host.end_idle()
    assert containers_left(docker.from_env(), site.laptop) == []


def test_the_handler_adds_little_to_gitlab_runner(site: LambdaSite) -> None:
    """What an invocation lasts besides gitlab-runner itself and the wait for the credential."""
    added = []
    for _ in range(WARM + 1):
        ended = site.run(json.dumps({"one": job("true")}))["one"]
        assert ended.status == "success"
        at = {step.name: step.at for step in site.row(ended).steps}
        runner = at[StepName.RUNNER_EXITED] - at[StepName.CREDENTIAL_READ]
        waited = at[StepName.CREDENTIAL_READ] - at[StepName.CALLED_HOME]
        total = timedelta(seconds=site.host.durations_s[-1])
        added.append((total - runner - waited).total_seconds() * 1000)
    warm = statistics.median(added[1:])
    print(f"handler's overhead: first {added[0]:.0f} ms, warm median {warm:.0f} ms")
    assert warm <= ADDS_AT_MOST_MS


def test_a_job_that_needs_containers_goes_to_the_overflow_the_next_time(site: LambdaSite) -> None:
    pipeline = json.dumps({"special": job("true", image="ruby:3.3", services=["redis:7"])})
    first = site.run(pipeline)["special"]
    assert first.status == "success"
    assert "runner-fleet: image: 'ruby:3.3' is not used" in first.log
    assert "runner-fleet: services: are not started" in first.log
    known = site.laptop.job_rows.fits.of(
        site.laptop.instance, site.project_id, "special", at=datetime.now(UTC)
    )
    assert known.containers == Containers(image="ruby:3.3", services=True)
