"""The simulator as a server."""

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


def test_a_seeded_project_can_be_seeded_only_once(site: Site) -> None:
    site.seed()
    with pytest.raises(gitlab.exceptions.GitlabCreateError, match="already been taken"):
        site.seed()
    with pytest.raises(SeedFailed, match="group/name"):
        create_project(site.server.url, site.server.root_token, "lonely", {})
