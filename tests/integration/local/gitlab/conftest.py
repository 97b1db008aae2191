"""A simulated GitLab for each test, and a client signed in as its administrator."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gitlab
import pytest

from local.gitlab.options import Options
from local.gitlab.server import SimulatorServer
from tests.integration.local.gitlab.machine import Machine
from tests.integration.local.gitlab.receiver import Receiver
from tests.integration.local.gitlab.site import Site


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SimulatorServer]:
    """A running simulator with GitLab's own defaults."""
    with SimulatorServer(tmp_path / "gitlab") as running:
        yield running


@pytest.fixture
def client(server: SimulatorServer) -> Iterator[gitlab.Gitlab]:
    """python-gitlab, as administrator."""
    with gitlab.Gitlab(server.url, private_token=server.root_token) as signed_in:
        yield signed_in


@pytest.fixture
def site(server: SimulatorServer, client: gitlab.Gitlab) -> Site:
    """The simulator, its client, and shortcuts."""
    return Site(server, client)


@pytest.fixture
def open_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """A function that opens a simulator with other options."""
    with ExitStack() as stack:

        def build(**options: Any) -> Site:
            server = SimulatorServer(tmp_path / "gitlab", Options(**options))
            stack.enter_context(server)
            client = gitlab.Gitlab(server.url, private_token=server.root_token)
            return Site(server, stack.enter_context(client))

        yield build


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of deliveries."""
    with Receiver() as listening:
        yield listening


@pytest.fixture
def machine(site: Site) -> Iterator[Machine]:
    """A machine of an instance runner that takes `ec2` and untagged jobs."""
    with Machine(site.server.url, site.register("ec2")) as connected:
        yield connected
