"""The metadata client against the local server, and against servers that misbehave."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ec2_runner.imds import ENDPOINT, Imds
from fleet.errors import Transient
from local.machines.imds import ImdsServer, InstanceMetadata

AT = datetime(2026, 8, 20, 9, 15, 1, tzinfo=UTC)


def instance() -> InstanceMetadata:
    return InstanceMetadata(
        instance_id="i-1",
        region="eu-central-1",
        zone="eu-central-1a",
        instance_type="m7i.large",
        image_id="ami-1",
        role="machine",
        tags={"runner-fleet:stack": "fleet"},
        user_data="#!/bin/bash\n",
        role_keys=dict,
    )


@pytest.fixture
def server() -> Iterator[ImdsServer]:
    with ImdsServer() as running:
        yield running


def test_who_this_machine_is(server: ImdsServer) -> None:
    imds = Imds.of({"AWS_EC2_METADATA_SERVICE_ENDPOINT": server.add(instance())})
    assert (imds.instance_id(), imds.region()) == ("i-1", "eu-central-1")


def test_without_an_endpoint_it_is_ec2s_own() -> None:
    assert vars(Imds.of({}))["_endpoint"] == ENDPOINT == "http://169.254.169.254"


def test_no_notice_is_not_an_error(server: ImdsServer) -> None:
    imds = Imds(server.add(instance()))
    assert imds.spot_notice() is None
    assert imds.rebalance_at() is None


def test_a_spot_notice(server: ImdsServer) -> None:
    seen = instance()
    imds = Imds(server.add(seen))
    seen.spot_at = AT
    notice = imds.spot_notice()
    assert notice is not None
    assert (notice.action, notice.at) == ("terminate", AT)


def test_a_rebalance_recommendation(server: ImdsServer) -> None:
    seen = instance()
    imds = Imds(server.add(seen))
    seen.rebalance_at = AT + timedelta(minutes=1)
    assert imds.rebalance_at() == AT + timedelta(minutes=1)


def test_a_token_that_ran_out_is_replaced(server: ImdsServer) -> None:
    imds = Imds(server.add(instance()))
    assert imds.instance_id() == "i-1"
    server.forget_tokens()
    assert imds.instance_id() == "i-1"


def test_an_unknown_machine_has_no_identity(server: ImdsServer) -> None:
    endpoint = server.add(instance())
    server.remove("i-1")
    with pytest.raises(Transient, match="lacks"):
        Imds(endpoint).instance_id()


def test_no_server_is_transient() -> None:
    with pytest.raises(Transient, match="no answer"):
        Imds("http://127.0.0.1:1").region()


@pytest.fixture
def broken(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that gives a token and answers everything else with one status."""
    status: int = request.param

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self._say(200)

        def do_GET(self) -> None:
            self._say(status)

        def _say(self, code: int) -> None:
            self.send_response(code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("broken", [401, 403, 500], indirect=True)
def test_a_server_in_trouble_is_transient(broken: str) -> None:
    with pytest.raises(Transient, match="IMDS"):
        Imds(broken).spot_notice()
