"""Launches that fail: AWS has no machine, too many calls, or the account may not have more."""

import time
from collections.abc import Callable

from local.chaos.faults.fault import Fault
from local.chaos.fleet_call import Disruption, FleetCall, Override
from local.chaos.fleet_file import TYPES
from local.chaos.pipeline import draw_jobs, on_ec2
from local.chaos.scene import Scene

DRY = "InsufficientInstanceCapacity"
MARKETS = ("spot", "on-demand")
# The fleet asks a capacity pool that had nothing again after a minute (fleet/rules/capacity.py).
A_MINUTE_MORE_S = 150.0


def _dry_zone(scene: Scene) -> None:
    """Whole zones, types or markets have nothing, but never everything."""
    subnets = scene.laptop.stack.subnets.split(",")
    everywhere = [
        (market, Override(instance_type=kind, subnet=subnet))
        for market in MARKETS
        for kind in TYPES
        for subnet in subnets
    ]
    zone = scene.draw.choice(subnets)
    share = scene.draw.uniform(0.0, 0.6)
    dry = {
        override
        for override in everywhere
        if override[1].subnet == zone or scene.draw.random() < share
    }
    wet = [override for override in everywhere if override[1].subnet != zone]
    dry.discard(scene.draw.choice(wet))
    most = scene.draw.choice((None, 1, 2))

    def disrupt(call: FleetCall) -> Disruption | None:
        none = {override: DRY for override in call.overrides if (call.market, override) in dry}
        is_short = most is not None and most < call.count
        return Disruption(dry=none, most=most) if none or is_short else None

    _fail(scene, disrupt)


def _throttled(scene: Scene) -> None:
    """Too many calls, for some seconds."""
    until = time.monotonic() + scene.draw.uniform(5.0, 12.0)
    share = scene.draw.uniform(0.6, 1.0)
    code = scene.draw.choice(("RequestLimitExceeded", "Unavailable"))
    draw = scene.draw

    def disrupt(_: FleetCall) -> Disruption | None:
        is_over = time.monotonic() > until
        return None if is_over or draw.random() > share else Disruption(refuse=code)

    _fail(scene, disrupt)


def _quota(scene: Scene) -> None:
    """The account may have no more spot, or on-demand, or for a while nothing at all."""
    kind = scene.draw.choice(("spot", "spot", "spot", "on-demand", "both"))
    until = time.monotonic() + (8.0 if kind == "both" else 60.0)
    codes = {"spot": "MaxSpotInstanceCountExceeded", "on-demand": "VcpuLimitExceeded"}

    def disrupt(call: FleetCall) -> Disruption | None:
        is_full = kind in ("both", call.market) and time.monotonic() < until
        return Disruption(refuse=codes[call.market]) if is_full else None

    _fail(scene, disrupt)


def _fail(scene: Scene, disrupt: Callable[[FleetCall], Disruption | None]) -> None:
    scene.proxy.fault = disrupt
    scene.push(on_ec2(draw_jobs(scene.draw)))


LAUNCHES = (
    Fault(
        name="dry-zone",
        about="some zones, types and markets have no machines",
        act=_dry_zone,
        finish_within_s=A_MINUTE_MORE_S,
    ),
    Fault(
        name="throttled",
        about="EC2 asks for fewer calls",
        act=_throttled,
        finish_within_s=A_MINUTE_MORE_S,
    ),
    Fault(
        name="quota",
        about="the account's quota is used up",
        act=_quota,
        finish_within_s=A_MINUTE_MORE_S,
    ),
)
