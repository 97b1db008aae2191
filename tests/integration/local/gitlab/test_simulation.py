"""The `_sim` calls: state, faults, time; and the server as a command."""

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
from tests.integration.local.gitlab.machine import Machine
from tests.integration.local.gitlab.receiver import wait_until
from tests.integration.local.gitlab.site import Site


def test_the_state_has_jobs_pipelines_projects_and_runners(site: Site, machine: Machine) -> None:
    site.start()
    machine.finish("failed", failure_reason="script_failure", exit_code=2)
    state = site.call("GET", "/_sim/state").json()
    (job,) = state["jobs"]
    assert (job["name"], job["status"], job["exit_code"]) == ("unit", "failed", 2)
    assert (job["runner_id"], job["system_id"]) == (1, machine.system_id)
    assert job["started_at"] <= job["finished_at"]
    assert state["pipelines"][0]["status"] == "failed"
    assert state["projects"][0]["path"] == "acme/platform/demo"
    assert state["runners"][0]["job_ids"] == [1]
    assert state["runners"][0]["heard_at"] is not None


def test_only_the_administrator_may_use_the_calls(site: Site) -> None:
    _, token = site.person("eve", "api")
    for call in ("GET state", "GET calls", "POST calls/reset", "POST chaos", "POST clock"):
        method, path = call.split()
        assert site.call(method, f"/_sim/{path}", token="").status_code == 401, call
        assert site.call(method, f"/_sim/{path}", token=token).status_code == 403, call


def test_calls_are_counted_by_template(site: Site, machine: Machine) -> None:
    seeded = site.start()
    site.call("POST", "/_sim/calls/reset")
    site.project(seeded).jobs.get(1)
    site.client.projects.get("acme/platform/demo").jobs.get(1)
    machine.ask()
    site.call("GET", "/_sim/state")
    assert site.call("GET", "/_sim/calls").json() == {
        "GET /projects/{project}": 2,
        "GET /projects/{project}/jobs/{job}": 2,
        "POST /jobs/request": 1,
    }


def test_all_hooks_can_be_switched_off_and_on(site: Site) -> None:
    hooks = site.project(site.start()).hooks
    made = hooks.create({"url": "http://127.0.0.1:9/hook", "job_events": True})
    site.call("POST", "/_sim/chaos", json={"hook_disabled": True})
    assert hooks.get(made.id).alert_status == "disabled"
    site.call("POST", "/_sim/chaos", json={"seed": 1})
    assert hooks.get(made.id).alert_status == "disabled"
    site.call("POST", "/_sim/chaos", json={"hook_disabled": False})
    assert hooks.get(made.id).alert_status == "executable"


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
