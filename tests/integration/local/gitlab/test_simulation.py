"""The simulator as a server and as a command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gitlab
import httpx
import pytest

from local.gitlab.seed import SeedFailed, create_project
from local.gitlab.server import SimulatorServer
from tests.integration.local.gitlab.receiver import wait_until
from tests.integration.local.gitlab.site import Site


def test_the_server_sweeps_by_itself(open_site: Callable[..., Site]) -> None:
    site = open_site(sweep_every_s=0.05)
    site.start("later: {script: [x], when: delayed, start_in: 1 second}\n")
    assert site.statuses() == {"later": "scheduled"}
    wait_until(lambda: site.statuses() == {"later": "pending"})


def test_ask_raises_the_error_of_the_question_and_servers_share_nothing(tmp_path: Path) -> None:
    first, second = SimulatorServer(tmp_path / "a"), SimulatorServer(tmp_path / "b")
    with pytest.raises(RuntimeError, match="not running"):
        first.ask(lambda world: world)
    with first, second:
        assert first.ask(lambda world: world.base_url) == first.url != second.url
        with pytest.raises(KeyError):
            first.ask(lambda world: world.ci.jobs[99])
        assert httpx.get(f"{first.url}/-/health").text == "GitLab OK"
        answer = httpx.get(f"{second.url}/api/v4/user", headers={"PRIVATE-TOKEN": first.root_token})
        assert answer.status_code == 401


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_prints_its_address_and_ends_at_a_signal(
    tmp_path: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "local.gitlab", "--data", str(tmp_path / "data")]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[4])}
    with subprocess.Popen(
        [*command, "--gitlab-version", "18.5.0", "--faster", "60"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=tmp_path,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        printed = json.loads(process.stdout.readline())
        with gitlab.Gitlab(printed["url"], private_token=printed["root_token"]) as client:
            assert client.version()[0] == "18.5.0"
            process.send_signal(number)
            assert process.wait(10) == 0
        assert process.stderr.read() == ""


def test_a_seeded_project_can_be_seeded_only_once(site: Site) -> None:
    site.seed()
    with pytest.raises(gitlab.exceptions.GitlabCreateError, match="already been taken"):
        site.seed()
    with pytest.raises(SeedFailed, match="group/name"):
        create_project(site.server.url, site.server.root_token, "lonely", {})
