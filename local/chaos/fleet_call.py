"""CreateFleet's failures: shorter requests, answers with errors. Pure.

Fields in, fields or XML out.

Source: Amazon EC2 API Reference, CreateFleet and "Error codes for the Amazon EC2 API".
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from local.chaos.query import Fields

_OVERRIDE = "LaunchTemplateConfigs.1.Overrides."
_TOTAL = "TargetCapacitySpecification.TotalTargetCapacity"
_MARKET = "TargetCapacitySpecification.DefaultTargetCapacityType"
_THROTTLES = frozenset({"RequestLimitExceeded", "ServiceUnavailable", "Unavailable"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """One capacity pool that a call names."""

    instance_type: str
    subnet: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetCall:
    """One call of CreateFleet."""

    fields: Fields
    market: str  # spot | on-demand
    count: int
    places: tuple[Override, ...]  # in the order of the overrides

    @classmethod
    def of(cls, fields: Fields) -> "FleetCall":
        """What the fields of a request ask for."""
        places = []
        for number in range(1, len(fields) + 1):
            kind = fields.get(f"{_OVERRIDE}{number}.InstanceType")
            if kind is None:
                break
            subnet = fields.get(f"{_OVERRIDE}{number}.SubnetId", "")
            places.append(Override(instance_type=kind, subnet=subnet))
        return cls(
            fields=fields,
            market=fields.get(_MARKET, "on-demand"),
            count=int(fields.get(_TOTAL, "1")),
            places=tuple(places),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Disruption:
    """How one call fails."""

    refuse: str | None = None  # this error code for the whole call
    dry: dict[Override, str] = field(default_factory=dict)  # error code of each place that has none
    most: int | None = None  # machines that there are at all


LaunchFault = Callable[[FleetCall], Disruption | None]


def shortened(call: FleetCall, verdict: Disruption) -> Fields | None:
    """The request without what the disruption takes away; None when nothing is left."""
    places = [place for place in call.places if place not in verdict.dry]
    count = call.count if verdict.most is None else min(call.count, verdict.most)
    if not places or count < 1:
        return None
    kept = {k: v for k, v in call.fields.items() if not k.startswith(_OVERRIDE)}
    kept[_TOTAL] = str(count)
    for number, place in enumerate(places, start=1):
        kept[f"{_OVERRIDE}{number}.InstanceType"] = place.instance_type
        kept[f"{_OVERRIDE}{number}.SubnetId"] = place.subnet
    return kept


def with_errors(answer: bytes | None, call: FleetCall, verdict: Disruption) -> bytes:
    """The engine's answer, or one without machines, with an error for each place that has none."""
    dry = dict(verdict.dry)
    if verdict.most is not None and verdict.most < call.count:
        dry |= {place: "InsufficientInstanceCapacity" for place in call.places if place not in dry}
    text = answer.decode() if answer else _NOTHING
    return text.replace(
        "<errorSet/>", f"<errorSet>{''.join(_items(dry, call))}</errorSet>"
    ).encode()


def refused(code: str) -> tuple[int, bytes]:
    """Status and body with which EC2 refuses a call."""
    text = (
        '<?xml version="1.0" encoding="UTF-8"?><Response><Errors><Error>'
        f"<Code>{code}</Code><Message>{_message(code)}</Message>"
        "</Error></Errors><RequestID>chaos</RequestID></Response>"
    )
    status = 503 if code in _THROTTLES else 403 if code == "UnauthorizedOperation" else 400
    return status, text.encode()


_NOTHING = (
    '<CreateFleetResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
    "<requestId>chaos</requestId><fleetId>fleet-chaos</fleetId><fleetInstanceSet/><errorSet/>"
    "</CreateFleetResponse>"
)


def _items(dry: dict[Override, str], call: FleetCall) -> Iterable[str]:
    for place, code in dry.items():
        yield (
            "<item><launchTemplateAndOverrides><overrides>"
            f"<instanceType>{escape(place.instance_type)}</instanceType>"
            f"<subnetId>{escape(place.subnet)}</subnetId>"
            "</overrides></launchTemplateAndOverrides>"
            f"<lifecycle>{escape(call.market)}</lifecycle>"
            f"<errorCode>{code}</errorCode><errorMessage>{_message(code)}</errorMessage></item>"
        )


def _message(code: str) -> str:
    return f"{code}, by request of the chaos suite"
