"""CreateFleet's failures: from fields to shorter fields, or to XML with errors. Pure.

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
    overrides: tuple[Override, ...]  # in the order of the overrides

    @classmethod
    def of(cls, fields: Fields) -> "FleetCall":
        """What the fields of a request ask for."""
        overrides = []
        for number in range(1, len(fields) + 1):
            kind = fields.get(f"{_OVERRIDE}{number}.InstanceType")
            if kind is None:
                break
            subnet = fields.get(f"{_OVERRIDE}{number}.SubnetId", "")
            overrides.append(Override(instance_type=kind, subnet=subnet))
        return cls(
            fields=fields,
            market=fields.get(_MARKET, "on-demand"),
            count=int(fields.get(_TOTAL, "1")),
            overrides=tuple(overrides),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Disruption:
    """How one call fails. `dry`: overrides without machines."""

    refuse: str | None = None  # this error code for the whole call
    dry: dict[Override, str] = field(default_factory=dict)  # error codes
    most: int | None = None  # machines that there are at all


LaunchFault = Callable[[FleetCall], Disruption | None]


def shortened(call: FleetCall, disruption: Disruption) -> Fields | None:
    """The request without what the disruption takes away; None when nothing is left."""
    overrides = [override for override in call.overrides if override not in disruption.dry]
    count = call.count if disruption.most is None else min(call.count, disruption.most)
    if not overrides or count < 1:
        return None
    fields = {k: v for k, v in call.fields.items() if not k.startswith(_OVERRIDE)}
    fields[_TOTAL] = str(count)
    for number, override in enumerate(overrides, start=1):
        fields[f"{_OVERRIDE}{number}.InstanceType"] = override.instance_type
        fields[f"{_OVERRIDE}{number}.SubnetId"] = override.subnet
    return fields


def with_errors(answer: bytes | None, call: FleetCall, disruption: Disruption) -> bytes:
    """The engine's answer, or one without machines, with an error for each dry override."""
    dry = dict(disruption.dry)
    if disruption.most is not None and disruption.most < call.count:
        dry |= {
            override: "InsufficientInstanceCapacity"
            for override in call.overrides
            if override not in dry
        }
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
    for override, code in dry.items():
        yield (
            "<item><launchTemplateAndOverrides><overrides>"
            f"<instanceType>{escape(override.instance_type)}</instanceType>"
            f"<subnetId>{escape(override.subnet)}</subnetId>"
            "</overrides></launchTemplateAndOverrides>"
            f"<lifecycle>{escape(call.market)}</lifecycle>"
            f"<errorCode>{code}</errorCode><errorMessage>{_message(code)}</errorMessage></item>"
        )


def _message(code: str) -> str:
    return f"{code}, by request of the chaos suite"
