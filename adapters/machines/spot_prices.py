"""What a spot machine costs an hour, as AWS says at its launch."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from adapters.aws.clients import aws_call
from fleet.errors import FleetError
from fleet.rules.capacity import CapacityPool

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

# Spot prices change a few times a day. Source: EC2's guide, spot pricing history.
KEPT = timedelta(minutes=30)
LINUX = "Linux/UNIX"


class SpotPrices:
    """The present price by instance type. AWS bills a machine at the price of its zone.

    The zones of a type differ by some percent, and a launch names a subnet: the mean is the answer.
    """

    def __init__(self, client: "EC2Client", clock: Callable[[], datetime]) -> None:
        self._client = client
        self._clock = clock
        self._known: dict[str, tuple[datetime, float | None]] = {}

    def usd_per_hour(self, capacity: CapacityPool | None) -> float | None:
        """USD; None for a machine that is no spot machine, and where AWS does not say."""
        if capacity is None or capacity.market != "spot":
            return None
        at = self._clock()
        asked_at, price = self._known.get(capacity.instance_type, (None, None))
        if asked_at is None or at - asked_at > KEPT:
            price = self._ask(capacity.instance_type, at)
            self._known[capacity.instance_type] = at, price
        return price

    def _ask(self, instance_type: str, at: datetime) -> float | None:
        """One call; a failure costs the launch nothing, and the price is estimated."""
        try:
            with aws_call("ec2.DescribeSpotPriceHistory"):
                answer = self._client.describe_spot_price_history(
                    InstanceTypes=[instance_type],  # type: ignore[list-item]
                    ProductDescriptions=[LINUX],
                    StartTime=at,  # the prices that are in force then
                    MaxResults=50,
                )
            prices = [float(quote["SpotPrice"]) for quote in answer["SpotPriceHistory"]]
        except (FleetError, LookupError, ValueError):
            return None
        return round(sum(prices) / len(prices), 6) if prices else None
