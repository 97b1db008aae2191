"""The metadata client against the local server."""

from datetime import UTC, datetime, timedelta

import pytest

from ec2_runner.imds import ENDPOINT, Imds, SpotNotice
from fleet.errors import Transient
from local.machines.imds import ImdsServer
from tests.integration.metadata import instance

AT = datetime(2026, 8, 20, 9, 15, 1, tzinfo=UTC)


def test_the_machine_knows_its_region(imds_server: ImdsServer) -> None:
    imds = Imds.of({"AWS_EC2_METADATA_SERVICE_ENDPOINT": imds_server.add(instance())})
    assert imds.region() == "eu-central-1"


def test_the_usual_endpoint_is_ec2s_own() -> None:
    assert vars(Imds.of({}))["_endpoint"] == ENDPOINT == "http://169.254.169.254"


def test_notices_have_their_times(imds_server: ImdsServer) -> None:
    metadata = instance()
    imds = Imds(imds_server.add(metadata))
    metadata.spot_at, metadata.rebalance_at = AT, AT + timedelta(minutes=1)
    assert imds.spot_notice() == SpotNotice(action="terminate", at=AT)
    assert imds.rebalance_at() == AT + timedelta(minutes=1)


class ImpatientServer(ImdsServer):
    """Lets a token run out with its first use."""

    def __init__(self) -> None:
        self.used: list[str | None] = []
        super().__init__()

    def knows(self, token: str | None) -> bool:
        knows = token not in self.used and super().knows(token)
        self.used.append(token)
        return knows


def test_a_token_that_ran_out_is_replaced() -> None:
    with ImpatientServer() as server:
        imds = Imds(server.add(instance()))
        assert [imds.region(), imds.region()] == ["eu-central-1"] * 2
        assert len(set(server.used)) == 2


def test_an_unknown_machine_has_no_region(imds_server: ImdsServer) -> None:
    endpoint = imds_server.add(instance())
    imds_server.remove("i-1")
    with pytest.raises(Transient, match="lacks"):
        Imds(endpoint).region()
