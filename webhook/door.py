"""The rate limit and the allow-list of the public door, in the memory of one process."""

from collections import OrderedDict
from datetime import datetime

from fleet.errors import BadDelivery
from fleet.rules.door import Network, Visitor, is_among, proven, source_of, tried

SOURCES = 4096  # in memory at most: the one that tried longest ago makes room


class Door:
    """The sources that tried lately, by the address that the gateway names."""

    def __init__(self, allowed: tuple[Network, ...] = ()) -> None:
        self._allowed = allowed
        self._visitors: OrderedDict[str, Visitor] = OrderedDict()

    @property
    def sources(self) -> int:
        """The number of sources in memory."""
        return len(self._visitors)

    def admit(self, address: str, at: datetime) -> None:
        """Let one request try. `BadDelivery`: 403 not an allowed network, 429 too many tries."""
        if not is_among(address, self._allowed):
            raise BadDelivery("this address may not deliver", status=403)
        source = source_of(address)
        visitor = tried(self._visitors.get(source), at=at)
        if visitor is None:
            raise BadDelivery("too many deliveries without a proof", status=429)
        self._keep(source, visitor)

    def proved(self, address: str, at: datetime) -> None:
        """Note that the source of this address has proven a delivery."""
        self._keep(source_of(address), proven(at=at))

    def _keep(self, source: str, visitor: Visitor) -> None:
        self._visitors[source] = visitor
        self._visitors.move_to_end(source)
        if len(self._visitors) > SOURCES:
            self._visitors.popitem(last=False)
