"""The `runner-fleet` command as people call it, on a deployed stack and a simulated GitLab."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from adapters.aws.clients import Clients, patient
from cli.main import app
from local.aws.engine import Engine, wait_until
from local.aws.stack import Stack, StackOptions, deploy_stack
from local.gitlab.seed import SeededProject, create_project, push_files
from local.gitlab.server import SimulatorServer
from operations.deployed import connect, find
from tests.integration.operations.engine_session import EngineSession

STACK = "commands"
CI = 'unit: {script: "true", tags: [gpu]}\n'
FLEET = """\
[gitlab]
url = "URL"
runners_in = "group:GROUP"
watch = { projects = ["acme/demo"] }

[pools.docker]
backend = "ec2"
tags = ["docker"]
instance_types = ["m7i.large", "m7a.large"]
ceiling = 5
"""


@dataclass(frozen=True, kw_only=True)
class Site:
    """A stack, a GitLab with a group and a project, and a folder with the fleet.toml."""

    engine: Engine
    stack: Stack
    server: SimulatorServer
    group: int
    project: SeededProject
    folder: Path

    def run(self, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
        """The command, in a process of its own."""
        gitlab = {"GITLAB_URL": self.server.url, "GITLAB_TOKEN": self.server.root_token}
        return subprocess.run(
            [sys.executable, "-m", "cli", *arguments],
            env={"PYTHONPATH": ".", **self.engine.environment(), **gitlab, **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def call(self, *arguments: str) -> Result:
        """The command in this process, on the stack."""
        session = EngineSession(self.engine)
        env = {"GITLAB_URL": self.server.url, "GITLAB_TOKEN": self.server.root_token}
        deployed = find(STACK, Clients(session, patient()))
        return CliRunner().invoke(app, arguments, obj=deployed, env=env)

    def file(self, *changes: tuple[str, str]) -> str:
        """The path of the fleet.toml, with these changes."""
        text = FLEET.replace("URL", self.server.url).replace("GROUP", str(self.group))
        for old, new in changes:
            text = text.replace(old, new)
        path = self.folder / "fleet.toml"
        path.write_text(text)
        return str(path)

    @property
    def records(self) -> dict[str, list[str]]:
        """The tags of every runner record in GitLab, by its description."""
        runners = self.server.ask(lambda world: list(world.runners.by_id.values()))
        return {one.description: sorted(one.tags) for one in runners}


@pytest.fixture(scope="module")
def site(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("commands")
    stack = deploy_stack(engine, StackOptions(name=STACK, at_once=2))
    with SimulatorServer(folder / "gitlab") as server:
        project = create_project(server.url, server.root_token, "acme/demo", {})
        group = server.ask(lambda world: next(iter(world.accounts.groups)))
        yield Site(
            engine=engine,
            stack=stack,
            server=server,
            group=group,
            project=project,
            folder=folder,
        )


@pytest.fixture(scope="module")
def applied(site: Site) -> Site:
    """The fleet.toml is in force."""
    given = ("--gitlab-token-env", "GITLAB_TOKEN")
    done = site.run("apply", site.file(), "--stack", STACK, *given)
    assert done.returncode == 0, done.stderr
    assert "added docker" in done.stdout
    assert "watching acme/demo" in done.stdout
    return site


def test_gitlab_answers_whether_the_token_may_do_it(site: Site) -> None:
    done = site.call("validate", site.file(), "--live")
    assert done.exit_code == 0, done.output
    assert f"yes  its user is owner of group {site.group}" in done.stdout
    assert "yes  project acme/demo is there" in done.stdout
    wrong = site.call("validate", site.file((f"group:{site.group}", "group:999")), "--live")
    assert wrong.exit_code == 1
    assert "NO   its user is owner of group 999" in wrong.stdout


def test_a_stack_that_is_not_there_says_so(site: Site) -> None:
    done = site.run("status", "--stack", "nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert (done.stderr.count("\n"), "stack=nowhere" in done.stderr) == (1, True)


def test_applying_again_changes_nothing_and_a_change_is_carried_to_gitlab(applied: Site) -> None:
    assert applied.records == {"fleet pool docker": ["docker"]}
    again = applied.call("apply", applied.file())
    assert "nothing changed" in again.stdout
    wider = applied.file(('["docker"]', '["docker", "big"]'))
    # The stack's name may come from the environment, too.
    changed = applied.run("apply", wider, RUNNER_FLEET_STACK=STACK)
    assert "updated the GitLab runner record of docker" in changed.stdout
    assert applied.records == {"fleet pool docker": ["big", "docker"]}
    renamed = applied.call("apply", "--yes", applied.file(("pools.docker", "pools.build")))
    assert "deleted the GitLab runner record of docker" in renamed.stdout
    assert applied.records == {"fleet pool build": ["docker"]}
    back = applied.call("apply", "--yes", applied.file())
    assert "made the GitLab runner record of docker" in back.stdout


def test_a_job_that_no_pool_takes_has_its_history_from_its_webhook_on(applied: Site) -> None:
    hook = ("webhook", "register", "--project", "acme/demo")
    registered = applied.run(*hook, "--stack", STACK)
    assert registered.returncode == 0, registered.stderr
    push_files(applied.project.clone_url, {".gitlab-ci.yml": CI}, message="Add a job")
    (job,) = connect(applied.server.url, applied.server.root_token).pending_jobs(applied.project.id)

    def hops() -> list[str]:
        """The steps so far: reconcile may write before the webhook does."""
        explained = applied.call("explain", job.web_url, "--json")
        return [hop["step"] for hop in json.loads(explained.stdout).get("hops", ())]

    wait_until(
        lambda: {"webhook_received", "event", "routed"} <= set(hops()),
        timeout_s=40,
        what=f"the webhook of job {job.id} in the ledger",
        log=applied.engine.log,
    )
    explained = applied.run("explain", str(job.id), "--json", "--stack", STACK)
    assert json.loads(explained.stdout)["standing"] == "no_pool"
    status = json.loads(applied.call("status", "--json").stdout)
    assert [one["job_id"] for one in status["jobs"]] == [job.id]
    assert "no_pool" not in {one["kind"] for one in status["problems"]}  # it may be others' job
    unknown = applied.call("explain", f"acme/demo#{job.id + 1000}")
    assert unknown.exit_code == 1
    assert "acme/demo" in unknown.stderr  # GitLab was asked
