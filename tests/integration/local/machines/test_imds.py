"""The local instance metadata answers as EC2's: version 2 only, per instance, botocore included."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from botocore.utils import InstanceMetadataFetcher

from fleet.errors import Transient
from local.machines.imds import ImdsServer
from tests.integration.metadata import instance

TTL = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "X-aws-ec2-metadata-token"


def ask(url: str, method: str = "GET", **headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with urlopen(Request(url, method=method, headers=named), timeout=5) as answer:
        return str(answer.read().decode())


def read(endpoint: str, path: str) -> str:
    token = ask(f"{endpoint}latest/api/token", "PUT", **{TTL: "60"})
    return ask(f"{endpoint}latest/{path}", **{TOKEN: token})


@contextmanager
def refused(status: int) -> Iterator[None]:
    """The server answers with this status; the answer is closed."""
    with pytest.raises(HTTPError) as raised:
        yield
    with raised.value as answer:
        assert answer.code == status


def test_pages(imds_server: ImdsServer) -> None:
    endpoint = imds_server.add(instance())
    for path, text in {
        "meta-data/instance-id": "i-1",
        "meta-data/instance-type": "m7i.large",
        "meta-data/ami-id": "ami-1",
        "meta-data/placement/region": "eu-central-1",
        "meta-data/placement/availability-zone": "eu-central-1a",
        "meta-data/tags/instance": "runner-fleet:stack\nName",
        "meta-data/tags/instance/Name": "rf-1",
        "meta-data/iam/security-credentials/": "machine",
        "user-data": "#!/bin/bash\necho",
    }.items():
        assert read(endpoint, path) == text, path
    document = json.loads(read(endpoint, "dynamic/instance-identity/document"))
    assert (document["instanceId"], document["region"]) == ("i-1", "eu-central-1")
    for path in (
        *("spot/instance-action", "events/recommendations/rebalance", "tags/instance/nothing"),
        *("iam/security-credentials/other", "nothing"),
    ):
        with refused(404):
            read(endpoint, f"meta-data/{path}")


def test_notices_appear_while_it_runs(imds_server: ImdsServer) -> None:
    metadata = instance()
    endpoint = imds_server.add(metadata)
    metadata.spot_at = metadata.rebalance_at = datetime(2026, 8, 20, 9, 15, 1, tzinfo=UTC)
    spot = json.loads(read(endpoint, "meta-data/spot/instance-action"))
    assert spot == {"action": "terminate", "time": "2026-08-20T09:15:01Z"}
    advice = json.loads(read(endpoint, "meta-data/events/recommendations/rebalance"))
    assert advice == {"noticeTime": "2026-08-20T09:15:01Z"}


def test_a_page_needs_a_token_that_has_not_expired(imds_server: ImdsServer) -> None:
    endpoint = imds_server.add(instance())
    expired = ask(f"{endpoint}latest/api/token", "PUT", **{TTL: "0"})
    for headers in ({}, {TOKEN: "made-up"}, {TOKEN: expired}):
        with refused(401):
            ask(f"{endpoint}latest/meta-data/instance-id", **headers)
    with refused(400):  # it needs a lifetime
        ask(f"{endpoint}latest/api/token", "PUT")


def test_each_instance_has_its_own_pages(imds_server: ImdsServer) -> None:
    first, second = imds_server.add(instance("i-1")), imds_server.add(instance("i-2"))
    assert read(first, "meta-data/instance-id") == "i-1"
    assert read(second, "meta-data/instance-id") == "i-2"
    imds_server.remove("i-1")
    with refused(404):
        read(first, "meta-data/instance-id")


def test_botocore_finds_the_roles_keys(imds_server: ImdsServer) -> None:
    config = {"ec2_metadata_service_endpoint": imds_server.add(instance())}
    fetched = InstanceMetadataFetcher(timeout=2, config=config).retrieve_iam_role_credentials()
    assert (fetched["access_key"], fetched["token"]) == ("ASIA", "session")
    assert fetched["role_name"] == "machine"


def test_without_the_engine_the_answer_is_503(imds_server: ImdsServer) -> None:
    def no_engine() -> dict[str, str]:
        raise Transient("no engine")

    endpoint = imds_server.add(instance(role_keys=no_engine))
    with refused(503):
        read(endpoint, "meta-data/iam/security-credentials/machine")
