"""Who may try to prove a delivery: sources without a proof are few and slow."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

BURST = 30  # tries without a proof
PER_S = 1.0  # more of them, each second
PROVEN_FOR = timedelta(minutes=10)  # after a proof, its source is not limited
_PREFIX_6 = 64  # bits: a provider gives each customer at least one such network


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """What is kept of one source."""

    tries: float  # left
    at: datetime  # when they were counted
    proven_at: datetime | None = None


def source_of(address: str) -> str:
    """Name the source of an address: IPv6 addresses of one /64 are one source; "" for none."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return ""
    mapped = getattr(parsed, "ipv4_mapped", None)
    if mapped or parsed.version == 4:
        return str(mapped or parsed)
    return str(ip_network((int(parsed), _PREFIX_6), strict=False))


def networks(text: str) -> tuple[Network, ...]:
    """Networks from a list with commas. Raises `ValueError` with the one that is none."""
    return tuple(ip_network(each.strip()) for each in text.split(",") if each.strip())


def is_among(address: str, allowed: tuple[Network, ...]) -> bool:
    """Whether an address is in one of these networks; any is when there are none."""
    if not allowed:
        return True
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    return any(parsed in network for network in allowed)


def tried(visitor: Visitor | None, *, at: datetime) -> Visitor | None:
    """The visitor after one more try; None when it has none left."""
    if visitor is None:
        return Visitor(tries=BURST - 1, at=at)
    if visitor.proven_at is not None and at - visitor.proven_at <= PROVEN_FOR:
        return visitor
    gained = max((at - visitor.at).total_seconds(), 0) * PER_S
    tries = min(visitor.tries + gained, BURST)
    return replace(visitor, tries=tries - 1, at=at) if tries >= 1 else None


def proven(*, at: datetime) -> Visitor:
    """The visitor after a proof."""
    return Visitor(tries=BURST, at=at, proven_at=at)
