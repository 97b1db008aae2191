from datetime import UTC, datetime, timedelta

import pytest

from fleet.rules.door import (
    BURST,
    PROVEN_FOR,
    Visitor,
    is_among,
    networks,
    proven,
    source_of,
    tried,
)

AT = datetime(2026, 11, 26, 9, tzinfo=UTC)
GITLAB_COM = networks("34.74.90.64/28, 34.74.226.0/24")


def tries(visitor: Visitor | None, at: datetime) -> int:
    """How many tries are admitted at one moment."""
    count = 0
    while count <= BURST and (visitor := tried(visitor, at=at)):
        count += 1
    return count


def spent() -> Visitor:
    """A visitor without a try left."""
    return Visitor(tries=0, at=AT)


def test_a_new_source_has_a_burst_of_tries() -> None:
    assert tries(None, AT) == BURST


def test_a_source_gains_a_try_each_second_up_to_the_burst() -> None:
    assert tries(spent(), AT) == 0
    assert tries(spent(), AT + timedelta(seconds=3.5)) == 3
    assert tries(spent(), AT + timedelta(days=30)) == BURST


def test_a_clock_that_goes_back_gains_nothing() -> None:
    assert tries(spent(), AT - timedelta(hours=1)) == 0


def test_a_proven_source_is_not_limited_until_its_proof_is_old() -> None:
    visitor = proven(at=AT)
    assert tries(visitor, AT + PROVEN_FOR) > BURST
    assert tries(visitor, AT + PROVEN_FOR + timedelta(seconds=1)) == BURST


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:0:1::7", "2001:db8:0:1::/64"),
        ("2001:db8:0:1:ffff::", "2001:db8:0:1::/64"),
        ("2001:db8:0:2::7", "2001:db8:0:2::/64"),
        ("", ""),
        ("203.0.113.7, 34.74.90.65", ""),
    ],
)
def test_a_source_is_an_address_or_the_network_of_one_line(address: str, source: str) -> None:
    assert source_of(address) == source


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("34.74.90.64", True),
        ("34.74.90.79", True),
        ("::ffff:34.74.226.9", True),
        ("34.74.90.80", False),
        ("2001:db8::1", False),
        ("", False),
        ("34.74.90.64, 203.0.113.7", False),
    ],
)
def test_only_addresses_of_allowed_networks_are_among_them(address: str, allowed: bool) -> None:
    assert is_among(address, GITLAB_COM) is allowed


@pytest.mark.parametrize("address", ["203.0.113.7", "2001:db8::1", ""])
def test_without_networks_any_address_is_allowed(address: str) -> None:
    assert is_among(address, networks(" "))


@pytest.mark.parametrize("text", ["34.74.90.64/27x", "gitlab.com", "34.74.90.65/28"])
def test_a_text_that_is_no_network_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=text):
        networks(text)
